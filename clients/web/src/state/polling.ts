/** Looks that are repeated: each begins some time after the last one has ended. */

/** Looks now and again, until a look says that there is no use in more; what it returns ends it, and the look under way. */
export function repeated(everyMs: number, look: (signal: AbortSignal) => Promise<boolean>): () => void {
  const ending = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const next = async () => {
    const goesOn = await look(ending.signal);
    if (goesOn && !ending.signal.aborted) timer = setTimeout(next, everyMs);
  };
  void next();
  return () => {
    ending.abort();
    clearTimeout(timer);
  };
}
