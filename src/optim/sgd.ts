import { kernel } from '../core/kernel.ts';
import { stepStorage } from '../core/stepbuffer.ts';
import type { Tensor } from '../core/tensor.ts';
import { Optimizer, type OptimizerOptions, type ParamGroup, type UpdateRange } from './optimizer.ts';

const update = kernel('optimizer', 'sgd');
const updateScaled = kernel('optimizer', 'sgdScaled');

export interface SgdOptions extends OptimizerOptions {
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

  constructor(params: Iterable<Tensor> | readonly ParamGroup[], { nesterov = false, ...options }: SgdOptions = {}) {
    super(params, options, 1);
    this.nesterov = nesterov;
  }

  protected override update(range: UpdateRange): void {
    const { parameters, gradients, state, scaled, firstBlock, count, threads } = range;
    const operands = {
      step: stepStorage(),
      groupOf: this.groupTable,
      gradient: gradients,
      p: parameters,
      m: state[0]!,
    };
    const consts = { NESTEROV: this.nesterov, CLIPPED: this.clip !== null, ...range.consts };
    const params = { n: count, at: this.hyper.at, firstBlock, clipAt: this.clip?.at ?? 0 };
    if (scaled) updateScaled({ ...consts, Half: 'vec4h' }, { ...operands, ...scaled }, params, threads);
    else update(consts, operands, params, threads);
  }
}
