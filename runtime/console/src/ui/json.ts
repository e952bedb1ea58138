// JSON that a person typed.

import { Problem } from "../api/request";

/** Throws a Problem with the place where it is none. */
export function checkJson(text: string): void {
  try {
    JSON.parse(text);
  } catch (thrown) {
    throw new Problem(`the input is no JSON: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
      hint: "an input is one JSON value, such as {\"name\": \"Ada\"}; texts stand in double quotes",
    });
  }
}
