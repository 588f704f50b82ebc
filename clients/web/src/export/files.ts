/** Files that the page makes, handed to the browser. */

export function save(name: string, content: BlobPart, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  // The browser has taken it when the click has ended.
  setTimeout(() => URL.revokeObjectURL(link.href), 0);
}

export function saveJson(name: string, value: unknown): void {
  save(name, JSON.stringify(value), "application/json");
}

export async function savePng(name: string, canvas: HTMLCanvasElement): Promise<void> {
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (blob) save(name, blob, "image/png");
}
