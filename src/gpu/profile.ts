import type { Grid } from './stream.ts';

export interface ProfileRow {
  label: string;
  calls: number;
  elapsedMs: number;
}

/** Time spent per kernel, summed over its dispatches. */
export class Profile {
  private readonly rowsByLabel = new Map<string, ProfileRow>();

  add(label: string, grid: Grid, elapsedMs: number): void {
    const key = `${label} grid ${grid.join('×')}`;
    const row = this.rowsByLabel.get(key) ?? { label: key, calls: 0, elapsedMs: 0 };
    row.calls++;
    row.elapsedMs += elapsedMs;
    this.rowsByLabel.set(key, row);
  }

  /** Rows by falling time. */
  rows(): ProfileRow[] {
    return [...this.rowsByLabel.values()].sort((a, b) => b.elapsedMs - a.elapsedMs);
  }

  toString(): string {
    const total = this.rows().reduce((sum, row) => sum + row.elapsedMs, 0);
    const lines = this.rows().map(
      ({ label, calls, elapsedMs }) =>
        `${elapsedMs.toFixed(2).padStart(9)} ms ${((100 * elapsedMs) / total).toFixed(1).padStart(5)} % ${String(calls).padStart(4)}×  ${label}`,
    );
    return [`${total.toFixed(2).padStart(9)} ms in all`, ...lines].join('\n');
  }
}
