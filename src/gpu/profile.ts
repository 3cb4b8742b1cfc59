import type { Grid } from './stream.ts';

/** What a dispatch has to do, as far as it is known. */
export interface Work {
  /** Bytes of all that is bound, each range once. */
  bytes: number;
  /** Multiplications and additions; 0 where the kernel does not say. */
  flops: number;
  /** The operands' shapes at `DEBUG=3`, else empty. */
  shapes: string;
}

export interface ProfileRow {
  label: string;
  calls: number;
  elapsedMs: number;
  flops: number;
  bytes: number;
}

/** Time spent per kernel, summed over its dispatches. */
export class Profile {
  private readonly rowsByLabel = new Map<string, ProfileRow>();

  add(label: string, grid: Grid, elapsedMs: number, work: Work | null = null): void {
    const shapes = work?.shapes ? ` ${work.shapes}` : '';
    const key = `${label} grid ${grid.join('×')}${shapes}`;
    addRow(this.rowsByLabel, {
      label: key,
      calls: 1,
      elapsedMs,
      flops: work?.flops ?? 0,
      bytes: work?.bytes ?? 0,
    });
  }

  /** Rows by falling time. */
  rows(): ProfileRow[] {
    return byTime(this.rowsByLabel);
  }

  /** Rows by falling time, those of one entry point taken together: `conv2d.forward`. */
  kernels(): ProfileRow[] {
    const together = new Map<string, ProfileRow>();
    for (const row of this.rowsByLabel.values()) {
      addRow(together, { ...row, label: row.label.slice(0, row.label.indexOf(' ')) });
    }
    return byTime(together);
  }

  get elapsedMs(): number {
    return this.rows().reduce((sum, row) => sum + row.elapsedMs, 0);
  }

  get calls(): number {
    return this.rows().reduce((sum, row) => sum + row.calls, 0);
  }

  /** A table: time, share of all, calls, GFLOP/s where kernels say their arithmetic, GB/s over what was bound. */
  toString(): string {
    const { elapsedMs: total, calls } = this;
    const rate = (amount: number, ms: number) => (amount > 0 && ms > 0 ? (amount / ms / 1e6).toFixed(1) : '');
    const lines = this.rows().map(({ label, calls, elapsedMs, flops, bytes }) =>
      [
        elapsedMs.toFixed(3).padStart(9),
        `${((100 * elapsedMs) / total).toFixed(1).padStart(5)} %`,
        `${calls}×`.padStart(6),
        rate(flops, elapsedMs).padStart(8),
        rate(bytes, elapsedMs).padStart(7),
        ` ${label}`,
      ].join(' '),
    );
    const head = '       ms   share  calls  GFLOP/s    GB/s  kernel';
    return [`${calls} dispatches in ${total.toFixed(3)} ms`, head, ...lines].join('\n');
  }
}

function addRow(rows: Map<string, ProfileRow>, row: ProfileRow): void {
  const before = rows.get(row.label);
  if (!before) {
    rows.set(row.label, { ...row });
    return;
  }
  before.calls += row.calls;
  before.elapsedMs += row.elapsedMs;
  before.flops += row.flops;
  before.bytes += row.bytes;
}

const byTime = (rows: ReadonlyMap<string, ProfileRow>): ProfileRow[] =>
  [...rows.values()].sort((a, b) => b.elapsedMs - a.elapsedMs);
