/** Prints the story for people; silent with `--json`. Colour only where somebody can see it. */
export class Teller {
  readonly #silent: boolean;
  readonly #colour: boolean;

  constructor(options: { readonly silent: boolean; readonly colour: boolean }) {
    this.#silent = options.silent;
    this.#colour = options.colour;
  }

  title(text: string): void {
    this.#line('');
    this.#line(this.#paint('1', text));
  }

  /** A sentence of the story. */
  say(text: string): void {
    for (const line of text.split('\n')) {
      this.#line(`  ${line}`);
    }
  }

  /** What was sent, run or asked, so that a reader can do it too. */
  command(text: string): void {
    for (const [i, line] of text.split('\n').entries()) {
      this.#line(this.#paint('36', `  ${i === 0 ? '$' : ' '} ${line}`));
    }
  }

  /** What came back. */
  output(lines: readonly string[]): void {
    for (const line of lines) {
      this.#line(this.#paint('2', `    ${line}`));
    }
  }

  good(text: string): void {
    this.#line(`  ${this.#paint('32', 'ok')}  ${text}`);
  }

  bad(text: string): void {
    this.#line(`  ${this.#paint('31', 'NOT OK')}  ${text}`);
  }

  #line(text: string): void {
    if (!this.#silent) {
      process.stdout.write(`${text}\n`);
    }
  }

  #paint(code: string, text: string): string {
    return this.#colour ? `\u001b[${code}m${text}\u001b[0m` : text;
  }
}

/** Rows under a head; cells are cut so that a line fits a terminal. */
export function textTable(head: readonly string[], rows: readonly (readonly string[])[], cellMax = 34): string[] {
  const cells = [head, ...rows].map((row) => row.map((cell) => cut(cell, cellMax)));
  const widths = head.map((_title, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

function cut(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`;
}
