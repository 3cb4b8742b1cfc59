import { thousands } from '../core/words.ts';
import { cacheFolder } from '../gpu/cachedir.ts';
import { type AdapterSummary, type LimitName, listAdapters, type OpenedDevice, openDevice } from '../gpu/dawn.ts';
import { byteSize } from '../gpu/pool.ts';

/** Limits that are sizes in bytes; the others are counts. */
const byteLimits: ReadonlySet<string> = new Set<LimitName>([
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxUniformBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
]);

/**
 * Prints every adapter that could be used here, and what was chosen and why.
 *
 * With `json`, one object: `chosen` (null when nothing could be opened), `adapters` in the order of `auto`'s preference,
 * `notes` about what is no adapter and why, `cacheFolder`, `node`, `platform`. Throws what openDevice throws, when all
 * else has been printed.
 */
export async function info({ adapter, json }: { adapter?: string | undefined; json: boolean }): Promise<void> {
  const notes: string[] = [];
  const onPrint = (text: string) => void process.stderr.write(text);
  const adapters = await listAdapters(notes, onPrint);
  let chosen: OpenedDevice | null = null;
  let failure: unknown = null;
  try {
    chosen = await openDevice({ adapter, onPrint });
    chosen.close();
  } catch (error) {
    failure = error;
  }
  const machine = {
    cacheFolder: cacheFolder(),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  };
  if (json) {
    const facts = chosen && { ...plain(chosen), flags: chosen.flags, why: chosen.why };
    const summaries = adapters.map((one) => ({ ...plain(one), origin: one.origin, auto: one.auto, why: one.why }));
    console.log(JSON.stringify({ chosen: facts, adapters: summaries, notes, ...machine }, null, 2));
  } else {
    console.log(report(adapters, chosen, notes, machine));
  }
  if (failure) throw failure;
}

/** An adapter's facts in a form that JSON has. */
const plain = (facts: AdapterSummary | OpenedDevice) => ({
  name: facts.name,
  kind: facts.kind,
  vendor: facts.vendor,
  driver: facts.driver,
  software: facts.software,
  features: [...facts.features],
  limits: facts.limits,
  subgroupSizes: facts.subgroupSizes,
  subgroupMatrixConfigs: facts.subgroupMatrixConfigs,
  fingerprint: facts.fingerprint,
});

function report(
  adapters: readonly AdapterSummary[],
  chosen: OpenedDevice | null,
  notes: readonly string[],
  machine: Record<'cacheFolder' | 'node' | 'platform', string>,
): string {
  const lines: string[] = [];
  if (chosen) lines.push('Chosen', ...entry('', chosen.why), '');
  lines.push('Adapters, best first');
  // Of several that have its name, the first was taken.
  const taken = adapters.find(({ name }) => name === chosen?.name);
  for (const one of adapters) {
    lines.push(`${one === taken ? '*' : ' '} ${one.name}`, ...entry('', `${one.kind}, ${one.origin}: ${one.why}`, 4));
  }
  for (const note of notes) lines.push(...entry('', note));
  if (chosen) {
    const { min, max } = chosen.subgroupSizes;
    const matrices = chosen.subgroupMatrixConfigs.map(
      (c) => `${c.M}x${c.N}x${c.K} ${c.componentType} to ${c.resultComponentType}`,
    );
    const limits = Object.entries(chosen.limits).map(
      ([name, value]) => `  ${name.padEnd(36)}${byteLimits.has(name) ? byteSize(value) : thousands(value)}`,
    );
    lines.push(
      '',
      `What ${chosen.name} grants`,
      ...entry('driver', chosen.driver),
      ...entry('features', [...chosen.features].join(' ') || 'none'),
      ...entry('subgroups', min === max ? `${min} wide` : `${min} to ${max} wide`),
      ...entry('matrices', matrices.join(', ') || 'none'),
      ...limits,
    );
  }
  lines.push('', 'Machine', ...entry('platform', `${machine.platform}, Node ${machine.node}`));
  lines.push(...entry('cache', machine.cacheFolder));
  return lines.join('\n');
}

const columns = 80;

/** A label and its text, wrapped at words and indented. */
function entry(label: string, text: string, indent = label ? 14 : 2): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1]!;
    if (line && indent + line.length + 1 + word.length > columns) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines.map((line, i) => `${(i === 0 && label ? `  ${label}` : '').padEnd(indent)}${line}`);
}
