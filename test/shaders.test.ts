import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import { readShader } from '../src/gpu/node.ts';
import { createModel } from '../src/models/index.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import type { OperationCase } from './cases/case.ts';
import { halved } from './cases/half.ts';
import { allCases } from './cases/index.ts';
import { gpuTest, messageOf, onDevice } from './gpu.ts';

const folder = new URL('../shaders/', import.meta.url);
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.wgsl'))
  .map((file) => file.replace('.wgsl', ''));

/** Entry points of a shader: `@compute … fn NAME`. */
const entriesOf = (code: string): string[] =>
  [...code.matchAll(/@compute[^{]*?\bfn (\w+)/g)].map(([, entry]) => entry!);

/** Runs `fn` on Dawn's null backend, which compiles everything and computes nothing. */
const onNull = <T>(fn: Parameters<typeof onDevice<T>>[1]): Promise<T> => onDevice({ adapter: 'null' }, fn);

test('there are shaders, and each has an entry point', () => {
  assert.ok(names.length > 10);
  for (const name of names) {
    assert.ok(entriesOf(readFileSync(new URL(`${name}.wgsl`, folder), 'utf8')).length > 0, `${name}.wgsl has none`);
  }
});

test('what shaders declare is named in camelCase, types in PascalCase, constants in capitals', () => {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.wgsl'));
  for (const file of files) {
    const code = readFileSync(new URL(file, folder), 'utf8').replace(/\/\/.*/g, '');
    const declared = /\b(?:(struct|alias)|fn|let|const|var(?:<[^>]*>)?)\s+(\w+)|[(,{]\s*(\w+)\s*:/g;
    for (const [, type, name, member] of code.matchAll(declared)) {
      const pattern = type ? /^[A-Z]\w*$/ : /^([a-z][a-zA-Z0-9]*|[A-Z][A-Z0-9_]*|_)$/;
      assert.match(name ?? member!, pattern, `${file}: ${name ?? member}`);
    }
  }
});

for (const name of names) {
  gpuTest(`${name}.wgsl compiles as it stands`, () =>
    onNull(async ({ pipelines }) => {
      for (const entry of entriesOf(readShader(`${name}.wgsl`))) await pipelines.get(name, entry, {}).compiled;
    }),
  );
}

/** Records a case forward and backward; the null backend then compiles the pipelines of both. */
function compile({ make }: OperationCase): void {
  const { op, inputs, dtypes, fixed = [] } = make();
  const tensors = inputs.map(({ shape, data }, i) =>
    Tensor.from(Float32Array.from(data), shape, { requiresGrad: !fixed.includes(i), dtype: dtypes?.[i] }),
  );
  const y = op(tensors);
  y.backward(Tensor.full(y.shape, 1, y.dtype === 'f16' ? 'f16' : 'f32'));
}

gpuTest('every specialisation that the operations’ cases use compiles', () =>
  onNull(async ({ pipelines, stream }) => {
    for (const one of [...allCases, ...halved(allCases)]) {
      compile(one);
      await stream.flush();
    }
    assert.ok(pipelines.size > 100, `only ${pipelines.size} pipelines`);
  }),
);

gpuTest('every specialisation that training a network uses compiles', () =>
  onNull(async () => {
    const options = { classes: 7, channels: 3, size: 32, width: 1 / 16, pool: 1, seed: 1 } as const;
    const makers = [
      (params: Iterable<Tensor>) => new optim.SGD(params, { nesterov: true }),
      (params: Iterable<Tensor>) => new optim.SGD(params),
      (params: Iterable<Tensor>) => new optim.Adam(params),
      (params: Iterable<Tensor>) => new optim.AdamW(params),
    ];
    for (const [i, make] of makers.entries()) {
      const net = createModel('vgg11_bn', { ...options, head: i % 2 ? 'fastai' : 'vgg' });
      const optimizer = make(net.parameters().values());
      await step(() => {
        const logits = net.forward(Tensor.full([2, 32, 32, 3], 0.5));
        ops.crossEntropy(logits, Tensor.from(Uint32Array.of(0, 1)), { labelSmoothing: 0.1 }).backward();
        optimizer.step({ lr: 0.1, momentum: 0.9 });
      });
    }
  }),
);

gpuTest('a constant that a shader does not have is refused', async () => {
  const message = await messageOf(() => onNull(({ pipelines }) => pipelines.get('unary', 'forward', { OPERATION: 1 })));
  assert.match(message, /^unary\.wgsl has no constant OPERATION; it has GROUP, EACH, OP, RELU/);
});

test.run();
