/** One value that the page shows, and who is told when it changes. */

import { useEffect, useState } from "preact/hooks";

export class Store<Value extends object> {
  private readonly listeners = new Set<() => void>();

  constructor(private value: Value) {}

  get now(): Value {
    return this.value;
  }

  set(change: Partial<Value>): void {
    this.value = { ...this.value, ...change };
    for (const each of [...this.listeners]) each();
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

/** The value now; the component is drawn again when it changes. */
export function useStore<Value extends object>(store: Store<Value>): Value {
  const [value, show] = useState(store.now);
  useEffect(() => {
    const told = () => show(store.now);
    // It may have changed between the drawing and now.
    told();
    return store.subscribe(told);
  }, [store]);
  return value;
}
