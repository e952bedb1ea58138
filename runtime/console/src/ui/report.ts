// The report that the function service makes of a failure: JSON, of which a person wants the message.

import { Problem } from "../api/request";

/** Of a payload or a cause that is one, its message and where it came from; null of any other text. */
export function reportOf(text: string): Problem | null {
  let report: unknown;
  try {
    report = JSON.parse(text);
  } catch {
    return null;
  }
  const { errorType, errorMessage, stackTrace } = (report ?? {}) as Record<string, unknown>;
  if (typeof errorMessage !== "string") {
    return null;
  }
  const frames = Array.isArray(stackTrace) ? stackTrace.filter((frame) => typeof frame === "string") : [];
  return new Problem([errorMessage, ...frames.map((frame) => `  at ${frame}`)].join("\n"), {
    code: typeof errorType === "string" ? errorType : "",
  });
}
