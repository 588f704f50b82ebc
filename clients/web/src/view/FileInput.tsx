/** A button that opens a file of the reader's own. */

import { useRef } from "preact/hooks";

interface Props {
  /** What a screen reader calls the field behind the button. */
  label: string;
  class?: string;
  onFile: (file: File) => void;
}

export function FileInput({ label, class: name, onFile }: Props) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" class={name} onClick={() => input.current!.click()}>
        Open…
      </button>
      <input
        ref={input}
        class="hidden"
        type="file"
        accept="image/*"
        aria-label={label}
        tabIndex={-1}
        onChange={({ currentTarget }) => {
          const [chosen] = currentTarget.files ?? [];
          if (chosen) onFile(chosen);
          // The same file again is a change too.
          currentTarget.value = "";
        }}
      />
    </>
  );
}
