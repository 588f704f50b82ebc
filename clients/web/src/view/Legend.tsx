/** Several maps: which one is shown, or the map of labels with a colour for each. */

interface Props {
  names: readonly string[];
  colours: readonly string[];
  chosen: number | null;
  onChoose: (index: number | null) => void;
}

export function Legend({ names, colours, chosen, onChoose }: Props) {
  return (
    <fieldset class="legend">
      <legend class="hidden">What is shown</legend>
      {names.map((name, index) => (
        <label key={index}>
          <input type="radio" name="shown" checked={chosen === index} onChange={() => onChoose(index)} />
          <span class="swatch" style={{ background: colours[index] ?? "" }} />
          {name}
        </label>
      ))}
      {names.length > 1 && (
        <label>
          <input type="radio" name="shown" checked={chosen === null} onChange={() => onChoose(null)} />
          which fits best where
        </label>
      )}
    </fieldset>
  );
}
