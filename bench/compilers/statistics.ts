/** What RADV_DEBUG=shaderstats says of a kernel, as far as it decides how fast it can be. */
export interface Statistics {
  /** Vector registers of an invocation. */
  registers: number;
  /** Registers that did not suffice: vector ones went to memory, scalar ones to vector registers. */
  spilledVectors: number;
  spilledScalars: number;
  /** Memory of an invocation that should have been registers: what was spilled, and arrays that are indexed. */
  scratchBytes: number;
  workgroupBytes: number;
  /** Subgroups that a SIMD holds at once, as far as registers and workgroup memory allow. */
  waves: number;
  instructions: number;
}

const LINES: Readonly<Record<keyof Statistics, string>> = {
  registers: 'VGPRs',
  spilledVectors: 'Spilled VGPRs',
  spilledScalars: 'Spilled SGPRs',
  scratchBytes: 'Scratch size',
  workgroupBytes: 'LDS size',
  waves: 'Subgroups per SIMD',
  instructions: 'Instructions',
};

/** Reads what the driver printed for one kernel; null where a figure is missing. */
export function statisticsOf(lines: readonly string[]): Statistics | null {
  const printed = new Map<string, number>();
  for (const line of lines) {
    const [, name, value] = /^([A-Z][\w ]*): (\d+)$/.exec(line) ?? [];
    if (name) printed.set(name, Number(value));
  }
  const found = Object.entries(LINES).map(([key, name]) => [key, printed.get(name)] as const);
  if (found.some(([, value]) => value === undefined)) return null;
  return Object.fromEntries(found) as unknown as Statistics;
}
