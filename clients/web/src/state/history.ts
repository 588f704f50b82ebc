/** Values with those before and after them: undo and redo. */

export interface History<Value> {
  past: readonly Value[];
  now: Value;
  future: readonly Value[];
}

export function begun<Value>(now: Value): History<Value> {
  return { past: [], now, future: [] };
}

export function done<Value>({ past, now }: History<Value>, next: Value): History<Value> {
  return { past: [...past, now], now: next, future: [] };
}

export function undone<Value>(history: History<Value>): History<Value> {
  const { past, now, future } = history;
  return past.length === 0
    ? history
    : { past: past.slice(0, -1), now: past[past.length - 1]!, future: [now, ...future] };
}

export function redone<Value>(history: History<Value>): History<Value> {
  const { past, now, future } = history;
  return future.length === 0 ? history : { past: [...past, now], now: future[0]!, future: future.slice(1) };
}
