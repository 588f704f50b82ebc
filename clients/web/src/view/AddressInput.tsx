/** Asks for the address of a picture. */

import { useEffect, useRef } from "preact/hooks";

interface Props {
  label: string;
  onAddress: (address: string) => void;
}

export function AddressInput({ label, onAddress }: Props) {
  const input = useRef<HTMLInputElement>(null);

  useEffect(() => input.current!.focus(), []);

  return (
    <form
      class="row address"
      onSubmit={(event) => {
        event.preventDefault();
        onAddress(input.current!.value.trim());
      }}
    >
      <input
        ref={input}
        type="url"
        required
        pattern="https?://.*"
        placeholder="https://…"
        aria-label={label}
      />
      <button type="submit" class="main">
        Fetch
      </button>
    </form>
  );
}
