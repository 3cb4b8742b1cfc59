import { kernel } from '../core/kernel.ts';
import { stepStorage } from '../core/stepbuffer.ts';
import type { Tensor } from '../core/tensor.ts';
import { Optimizer, type ParamGroup, type UpdateRange } from './optimizer.ts';

const update = kernel('optimizer', 'sgd');

export interface SgdOptions {
  weightDecay?: number;
  nesterov?: boolean;
}

/**
 * Stochastic gradient descent with momentum; lr and momentum come with each `step`.
 *
 *   g ← g + wd·p,  m ← momentum·m + g,  p ← p − lr·m   (nesterov: p − lr·(g + momentum·m))
 *
 * Source: PyTorch's `torch.optim.SGD` with dampening 0.
 */
export class SGD extends Optimizer {
  private readonly nesterov: boolean;

  constructor(
    params: Iterable<Tensor> | readonly ParamGroup[],
    { weightDecay = 0, nesterov = false }: SgdOptions = {},
  ) {
    super(params, weightDecay, 1);
    this.nesterov = nesterov;
  }

  protected override update(range: UpdateRange): void {
    const { parameters, gradients, state, firstBlock, count, consts, threads } = range;
    const operands = {
      step: stepStorage(),
      group_of: this.groupTable,
      gradient: gradients,
      p: parameters,
      m: state[0]!,
    };
    const params = { n: count, at: this.hyper.at, first_block: firstBlock };
    update({ NESTEROV: this.nesterov, ...consts }, operands, params, threads);
  }
}
