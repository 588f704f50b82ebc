/** Questions of which only the newest counts. */

/** One is under way, one waits, and those between are forgotten. */
export class Newest<Question> {
  private waiting: { question: Question } | undefined;
  private running = false;

  constructor(private readonly ask: (question: Question) => Promise<void>) {}

  put(question: Question): void {
    this.waiting = { question };
    if (!this.running) void this.run();
  }

  /** Forgets what waits. */
  clear(): void {
    this.waiting = undefined;
  }

  private async run(): Promise<void> {
    this.running = true;
    try {
      while (this.waiting) {
        const { question } = this.waiting;
        this.waiting = undefined;
        await this.ask(question);
      }
    } finally {
      this.running = false;
    }
  }
}

/** All are under way at once: each looks, when it has waited, whether a newer one has begun. */
export class Turns {
  private newest = 0;

  /** Begins a turn, which ends those before; tells whether it is still the newest. */
  begin(): () => boolean {
    const own = ++this.newest;
    return () => own === this.newest;
  }
}
