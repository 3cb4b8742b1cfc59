import { inspect } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { noGrad } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as nn from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import { gpuTest, messageOf } from './gpu.ts';
import * as ref from './reference.ts';

/** A small network with one of everything. */
const network = (seed = 1): nn.Sequential => {
  const random = new Random(seed);
  return new nn.Sequential([
    new nn.Conv2d({ inChannels: 3, outChannels: 4, kernel: [3, 2], padding: 1 }, random),
    new nn.BatchNorm(4, { relu: true }),
    nn.maxPool2d({ kernel: 2 }),
    nn.flatten(),
    new nn.Dropout(0.5),
    new nn.Linear({ inFeatures: 36, outFeatures: 5, flattened: [3, 3, 4] }, random),
    new nn.Linear({ inFeatures: 5, outFeatures: 2, bias: false }, random),
  ]);
};

gpuTest('state is named by position, in order', () => {
  const state = network().state('net.');
  assert.equal(
    [...state].map(([name, { kind, fileShape }]) => `${name} ${kind} ${fileShape}`),
    [
      'net.0.weight parameter 4,3,3,2',
      'net.0.bias parameter 4',
      'net.1.weight parameter 4',
      'net.1.bias parameter 4',
      'net.1.running_mean buffer 4',
      'net.1.running_var buffer 4',
      'net.5.weight parameter 5,36',
      'net.5.bias parameter 5',
      'net.6.weight parameter 2,5',
    ],
  );
  assert.is(network().parameterCount(), 4 * 18 + 4 + 4 + 4 + 180 + 5 + 10);
  assert.ok([...network().parameters().values()].every(({ requiresGrad }) => requiresGrad));
});

gpuTest('a network and a tensor say what they are', async () => {
  const lines = String(network()).split('\n');
  assert.is(lines[0], 'Sequential: 279 parameters');
  assert.is(lines[1], '  0: Conv2d  weight [4,3,3,2]  bias [4]');
  assert.is(lines[3], '  2: maxPool2d');
  assert.is(inspect(network()), String(network()));
  const tensor = Tensor.zeros([2, 3]);
  assert.is(inspect({ tensor }), '{ tensor: Tensor f32 [2,3] }');
  const unfinished = Object.assign(Object.create(Pair.prototype), { mode: true });
  assert.is(inspect(unfinished), 'Pair');
  tensor.free('the test');
  assert.is(String(tensor), 'Tensor f32 [2,3] freed by the test');
});

/** Holds what it is given in a field, and names it nowhere. */
class Holder extends nn.Module {
  readonly held: unknown;

  constructor(held: unknown) {
    super();
    this.held = held;
  }

  forward(x: Tensor): Tensor {
    return x;
  }
}

gpuTest('tensors and layers that a module holds and does not name are refused, in collections too', async () => {
  const layer = network();
  const collections = [[layer], new Map([['a', layer]]), new Set([layer]), [[layer]], { a: { b: [layer] } }];
  for (const held of [layer, ...collections])
    assert.match(
      await messageOf(() => new Holder(held).state()),
      /^Holder: children\(\) does not name the layer 'held'/,
    );
  const scale = nn.constant([1], 1);
  assert.match(await messageOf(() => new Holder(scale).state()), /^Holder: own\(\) does not name the tensor 'held'/);
  assert.is(new Holder(Tensor.zeros([1])).parameterCount(), 0);
  // A tensor that another layer names is trained and saved.
  const linear = new nn.Linear({ inFeatures: 2, outFeatures: 3 }, new Random(1));
  const tied = new nn.Sequential([linear, new Holder(linear.weight), new Holder(linear)]);
  assert.is(tied.parameters().size, 2);
});

class Pair extends nn.Module {
  readonly first = network(1);
  readonly more = [network(2), network(3)];
  readonly relu = nn.relu();
  private readonly named: readonly nn.NamedModule[];

  constructor(name: (pair: Pair) => nn.NamedModule[]) {
    super();
    this.named = name(this);
  }

  override children() {
    return this.named;
  }

  forward(x: Tensor): Tensor {
    return x;
  }
}

gpuTest('a layer that is forgotten in children() is refused, one that is inside of another is not', async () => {
  const whole = new Pair(({ first, more }) => [['all', new nn.Sequential([first, ...more])]]);
  assert.is(whole.parameterCount(), 3 * network().parameterCount());
  for (const [left, pair] of [
    [
      'first',
      new Pair(({ more: [second, third] }) => [
        ['a', second!],
        ['b', third!],
      ]),
    ],
    [
      'more',
      new Pair(({ first, more: [second] }) => [
        ['a', first],
        ['b', second!],
      ]),
    ],
  ] as const) {
    const message = `Pair: children() does not name the layer '${left}', which would be neither trained nor saved. Name it there, or keep what is only referenced in a #private field.`;
    assert.is(await messageOf(() => pair.parameters()), message);
    assert.is(await messageOf(() => new nn.Sequential([pair]).state()), message);
  }
});

gpuTest('a layer without parameters need not be named to be switched, wherever it is held', async () => {
  const dropout = new nn.Dropout(0.5);
  for (const held of [dropout, [[dropout]], { drop: dropout }]) {
    dropout.train();
    new nn.Sequential([new Holder(held)]).eval();
    assert.not(dropout.training);
  }
  // What a module is inside of is not switched by it.
  const part = new Holder(null);
  const whole = new nn.Sequential([part]);
  Object.assign(part, { held: whole });
  part.eval();
  assert.equal([part.training, whole.training], [false, true]);
  const [one, other] = [new Holder(null), new Holder(null)];
  Object.assign(one, { held: other });
  Object.assign(other, { held: one });
  one.eval();
  assert.equal([one.training, other.training], [false, false]);
});

gpuTest('train and eval reach all modules', async () => {
  const net = network();
  const x = Tensor.full([2, 6, 5, 3], 1);
  net.eval();
  assert.not(net.layers[4]!.training);
  assert.equal(await net.forward(x).read(), await net.forward(x).read());
  assert.ok(net.train().layers[1]!.training);
});

gpuTest('a file has channels first, whatever memory has', async () => {
  const net = network();
  const conv = (net.layers[0] as nn.Conv2d).weight;
  const linear = (net.layers[5] as nn.Linear).weight;
  const file = await nn.readState(net);
  const inMemory = async (tensor: Tensor, shape: number[]) => ref.values(shape, await tensor.read());
  const kcrs = ref.permute(await inMemory(conv, [4, 3, 2, 3]), [0, 3, 1, 2]);
  assert.equal([...file.get('0.weight')!.data], [...kcrs.data]);
  assert.equal(file.get('0.weight')!.shape, [4, 3, 3, 2]);
  const chw = ref.permute(await inMemory(linear, [5, 3, 3, 4]), [0, 3, 1, 2]);
  assert.equal([...file.get('5.weight')!.data], [...chw.data]);
  assert.equal([...file.get('6.weight')!.data], [...(await (net.layers[6] as nn.Linear).weight.read())]);
});

gpuTest('what is read from one network and written to another gives the same results', async () => {
  const [from, to] = [network(1).eval(), network(2).eval()];
  const x = Tensor.from(
    Float32Array.from({ length: 180 }, (_, i) => Math.sin(i)),
    [2, 6, 5, 3],
  );
  const want = await from.forward(x).read();
  assert.not.equal(await to.forward(x).read(), want);
  const state = await nn.readState(from);
  state.set('1.num_batches_tracked', { shape: [], data: Float32Array.of(7) });
  nn.writeState(to, state, 'a.safetensors');
  assert.equal(await to.forward(x).read(), want);
});

gpuTest('a file that does not fit is refused before anything is written', async () => {
  const net = network();
  const before = await nn.readState(net);
  const spoiled = async (change: (state: Map<string, { shape: readonly number[]; data: Float32Array }>) => void) => {
    const state = await nn.readState(network(9));
    change(state);
    return messageOf(() => nn.writeState(net, state, 'a.safetensors'));
  };
  assert.match(
    await spoiled((state) => state.delete('6.weight')),
    /^a\.safetensors: tensor '6\.weight' is missing\. Build the network with the architecture, .* of the file\.$/,
  );
  assert.match(
    await spoiled((state) => state.set('7.weight', state.get('0.bias')!)),
    /tensor '7\.weight' is not in this network \(1 such\)/,
  );
  assert.match(
    await spoiled((state) => state.set('6.weight', { shape: [5, 2], data: new Float32Array(10) })),
    /tensor '6\.weight' is \[5,2\] but the network's is \[2,5\]/,
  );
  assert.equal(await nn.readState(net), before);
});

gpuTest('weights are drawn as torchvision draws them, the same from the same seed', async () => {
  const conv = (seed: number) =>
    new nn.Conv2d({ inChannels: 32, outChannels: 64, kernel: 3 }, new Random(seed)).weight.read();
  const values = await conv(1);
  const mean = values.reduce((total, value) => total + value, 0) / values.length;
  const std = Math.sqrt(values.reduce((total, value) => total + (value - mean) ** 2, 0) / values.length);
  // Kaiming, fan out: √(2/(64·9)). 18,432 draws: the standard error of std is 0.5 %, of the mean std/136.
  assert.ok(Math.abs(std / Math.sqrt(2 / 576) - 1) < 0.025, `std ${std}`);
  assert.ok(Math.abs(mean) < std / 27, `mean ${mean}`);
  assert.equal(await conv(1), values);
  nn.unfilled(() => new nn.Conv2d({ inChannels: 1, outChannels: 1, kernel: 1 }, new Random(1)));
  assert.equal(await conv(1), values, 'once more, after one whose values come from a file');
  assert.not.equal(await conv(2), values);
});

gpuTest(
  'a Linear is drawn evenly from ±1/√(in features), its biases too, as PyTorch’s; with a std its biases are 0',
  async () => {
    const options = { inFeatures: 400, outFeatures: 100 };
    const { weight, bias } = new nn.Linear(options, new Random(1));
    for (const tensor of [weight, bias!]) {
      const values = await tensor.read();
      const [low, high] = [Math.min(...values.slice(0, 4000)), Math.max(...values.slice(0, 4000))];
      assert.ok(low >= -1 / 20 && high <= 1 / 20 && low < -0.9 / 20 && high > 0.9 / 20, `${low} to ${high}`);
    }
    const normal = new nn.Linear({ ...options, std: 0.01 }, new Random(1));
    assert.ok((await normal.bias!.read()).every((value) => value === 0));
  },
);

gpuTest('without a tape a network frees what lies between its layers, but not its input', async () => {
  const x = Tensor.full([1, 2], 3);
  const seen: Tensor[] = [];
  const spy = () =>
    new nn.Lambda('spy', (t) => {
      seen.push(t);
      return t;
    });
  const net = new nn.Sequential([
    spy(),
    new nn.Lambda('twice', (t) => t.view([2])),
    spy(),
    nn.relu(),
    spy(),
    nn.relu(),
  ]);
  const y = noGrad(() => net.forward(x));
  assert.equal([...(await y.read())], [3, 3]);
  assert.ok(x.alive);
  assert.not(seen[2]!.alive);
});

gpuTest('options that cannot be are refused', async () => {
  assert.match(await messageOf(() => new nn.Dropout(1)), /Dropout: p is 1/);
});

gpuTest('a tensor that has not as many values as its shape in a file is refused', () => {
  const bent = new nn.Linear({ inFeatures: 3, outFeatures: 2, flattened: [1, 2, 2] }, new Random(1));
  assert.throws(
    () => new nn.Sequential([bent]).parameters(),
    /^Sequential: '0\.weight' is \[2,3\], but its channelsLast \[2,1,2,2\] \(of a Linear, `flattened`\); they must have as many values\.$/,
  );
  class Scale extends nn.Lambda {
    readonly scale = nn.constant([1], 1);

    override own() {
      return { scale: { tensor: this.scale, kind: 'parameter' as const, fileShape: [2] } };
    }
  }
  assert.throws(() => new Scale('scale', ops.neg).state(), /^Scale: 'scale' is \[1\], but its fileShape \[2\]; they/);
});

gpuTest('layer groups that leave out a layer are refused: an optimizer would not train it', () => {
  class Grouped extends nn.Sequential {
    override layerGroups() {
      return [this.children().slice(0, 1), this.children().slice(2)];
    }
  }
  const random = new Random(1);
  const linear = () => new nn.Linear({ inFeatures: 2, outFeatures: 2 }, random);
  assert.throws(
    () => nn.layerGroups(new Grouped([linear(), linear(), nn.relu()])),
    /^Grouped: layerGroups\(\) leaves out '1\.weight', which would not be trained\. Name its layer in one of the groups\.$/,
  );
  assert.is(nn.layerGroups(new Grouped([linear(), nn.relu(), linear()])).length, 2);
});

class Part extends nn.Module {
  readonly layer = network(1);
  readonly owner: nn.Module;

  constructor(owner: nn.Module) {
    super();
    this.owner = owner;
  }

  override children() {
    return [['layer', this.layer]] as const;
  }

  forward(x: Tensor): Tensor {
    return x;
  }
}

gpuTest('a layer may know what it is inside of', () => {
  class Whole extends nn.Module {
    readonly part: Part = new Part(this);

    override children() {
      return [['part', this.part]] as const;
    }

    forward(x: Tensor): Tensor {
      return x;
    }
  }
  assert.is(new Whole().parameterCount(), network().parameterCount());
  const [one, other] = [new Part(network(1)), new Part(network(1))];
  Object.assign(one, { owner: other });
  Object.assign(other, { owner: one });
  assert.throws(() => one.state(), /^Part: children\(\) does not name the layer 'owner'/);
});

gpuTest('two layers of one name are refused: one would be neither trained nor saved', () => {
  class Twins extends nn.Module {
    readonly #layers = [network(1), network(2)];

    override children() {
      return this.#layers.map((layer) => ['layer', layer] as const);
    }

    forward(x: Tensor): Tensor {
      return x;
    }
  }
  assert.throws(() => new Twins().parameters(), /^Twins: there are two tensors 'layer\.[\w.]+'; give children names/);
});

gpuTest('a state whose values are not as many as its shape says changes nothing', async () => {
  const layer = new nn.BatchNorm(2);
  const state = await nn.readState(layer);
  for (const entry of state.values()) entry.data.fill(7);
  state.set('running_var', { shape: [2], data: Float32Array.of(1, 2, 3) });
  assert.throws(() => nn.writeState(layer, state, 'mine'), /^mine: tensor 'running_var' is \[2\] but has 3 values\.$/);
  assert.equal([...(await layer.weight.read())], [1, 1]);
});

gpuTest('a layer may answer with a tensor that lasts', async () => {
  const lasting = Tensor.from([1, 2]);
  const model = new nn.Sequential([new nn.Lambda('lasting', () => lasting), new nn.Lambda('neg', ops.neg)]);
  for (let i = 0; i < 2; i++) assert.equal([...(await model.forward(Tensor.zeros([2])).read())], [-1, -2]);
});

gpuTest('a tensor under two names counts once', () => {
  const linear = new nn.Linear({ inFeatures: 3, outFeatures: 2 }, new Random(1));
  const tied = new nn.Sequential([linear, nn.flatten(), linear]);
  assert.is(tied.parameterCount(), 8);
});

test.run();
