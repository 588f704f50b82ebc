/** Questions of which only the newest counts: one is under way, one waits, and those between are forgotten. */

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
