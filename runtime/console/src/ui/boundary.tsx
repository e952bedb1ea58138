// A page that cannot be drawn, such as of an answer that is none of this server's. Hides that React takes all of a page away then.

import { Component, type ReactNode } from "react";

import { Problem } from "../api/request";
import { Refusal } from "./parts";

interface Props {
  /** Where one is: another place is tried anew. */
  readonly at: string;
  readonly children: ReactNode;
}

interface State {
  readonly at: string;
  readonly problem: Problem | null;
}

export class Boundary extends Component<Props, State> {
  override state: State = { at: this.props.at, problem: null };

  static getDerivedStateFromError(thrown: unknown): Partial<State> {
    return { problem: Problem.of(thrown) };
  }

  static getDerivedStateFromProps({ at }: Props, before: State): State | null {
    return at === before.at ? null : { at, problem: null };
  }

  override render(): ReactNode {
    const { problem } = this.state;
    if (problem === null) {
      return this.props.children;
    }
    const told = new Problem(problem.message, {
      hint: "the server answered with something that this page does not know; see whether both are of one version, and nothing between them answers in its place",
    });
    return (
      <Refusal problem={told} title="This page cannot be shown">
        <button type="button" onClick={() => this.setState({ problem: null })}>
          Try again
        </button>
      </Refusal>
    );
  }
}
