/** Colours of maps and of things. */

export type Rgb = readonly [red: number, green: number, blue: number];

// Dark violet over red to light yellow, even to the eye and in grey: seven colours of matplotlib's inferno.
const HEAT: readonly Rgb[] = [
  [0, 0, 4],
  [51, 10, 95],
  [120, 28, 109],
  [187, 55, 84],
  [237, 105, 37],
  [251, 180, 26],
  [252, 255, 164],
];

// Apart from each other for people who see no red or no green as well (Okabe and Ito 2008).
const THINGS: readonly Rgb[] = [
  [0, 158, 235],
  [240, 110, 20],
  [0, 178, 125],
  [224, 96, 168],
  [236, 200, 30],
  [126, 108, 232],
  [120, 196, 246],
  [205, 70, 60],
];

/** The colour of a number from 0 to 1. */
export function heat(value: number): Rgb {
  const place = Math.min(Math.max(value, 0), 1) * (HEAT.length - 1);
  const below = Math.min(Math.floor(place), HEAT.length - 2);
  const [one, other] = [HEAT[below]!, HEAT[below + 1]!];
  return [0, 1, 2].map((i) =>
    Math.round(one[i]! + (other[i]! - one[i]!) * (place - below)),
  ) as unknown as Rgb;
}

/** The colour of the thing of this index, the same each time. */
export function colourOf(index: number): Rgb {
  return THINGS[index % THINGS.length]!;
}

export function css([red, green, blue]: Rgb): string {
  return `rgb(${red} ${green} ${blue})`;
}

/** The same as one row of 256 colours, for maps that are drawn 60 times a second. */
export const HEAT_TABLE: readonly Rgb[] = Array.from({ length: 256 }, (_, i) => heat(i / 255));
