import { rewritten } from '../core/halfcopy.ts';
import { setStepCounter, stepCounter } from '../core/stepbuffer.ts';
import { Tensor } from '../core/tensor.ts';
import type { Module } from '../nn/index.ts';
import type { Optimizer } from '../optim/index.ts';

/**
 * Copies, on the GPU, of all that a training step changes: parameters, their moving average, running statistics, optimizer state, the
 * loss scale, the counters that schedules and random numbers go by. `restore` puts everything back, to the bit; once.
 */
export class Snapshot {
  private readonly pairs: { original: Tensor; copy: Tensor }[];
  private readonly module: Module;
  private readonly optimizer: Optimizer;
  private readonly training: boolean;
  private readonly updates: number;
  private readonly counter = stepCounter();

  constructor(module: Module, optimizer: Optimizer) {
    this.module = module;
    this.optimizer = optimizer;
    this.training = module.training;
    this.updates = optimizer.steps;
    const tensors = [...[...module.state().values()].map(({ tensor }) => tensor), ...optimizer.state().flat()];
    if (optimizer.lossScale) tensors.push(optimizer.lossScale.words);
    if (optimizer.average) tensors.push(...optimizer.average.tensors, optimizer.average.updates);
    this.pairs = tensors.map((original) => {
      const copy = Tensor.empty(original.shape, original.dtype);
      original.storage.gpu.stream.copy(original.storage, copy.storage);
      return { original, copy };
    });
  }

  restore(): void {
    for (const { original, copy } of this.pairs) {
      original.storage.gpu.stream.copy(copy.storage, original.storage);
      rewritten(original);
      copy.free('Snapshot.restore()');
    }
    this.optimizer.zeroGrad();
    this.optimizer.steps = this.updates;
    this.module.train(this.training);
    setStepCounter(this.counter);
  }
}
