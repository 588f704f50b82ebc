/** The clipboard, which browsers give to pages of this machine and to those with TLS. */

/** Copies a text; rejects where the browser does not allow it. */
export async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // All other pages may copy what is marked on them.
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "hidden";
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  if (!isDone) throw new Error("this browser does not let the page copy: mark the text and copy it yourself");
}
