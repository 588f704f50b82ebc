/** A button that keeps the focus while there is nothing for it to do: one that is disabled loses it. */

import type { ComponentChildren } from "preact";

interface Props {
  isIdle: boolean;
  title?: string;
  onClick: () => void;
  children: ComponentChildren;
}

export function SteadyButton({ isIdle, title, onClick, children }: Props) {
  return (
    <button type="button" title={title} aria-disabled={isIdle} onClick={() => isIdle || onClick()}>
      {children}
    </button>
  );
}
