import { kernel } from '../core/kernel.ts';
import type { Tensor } from '../core/tensor.ts';
import { Optimizer, type OptimizerOptions, type ParamGroup, type UpdateRange } from './optimizer.ts';

const kernels = { plain: kernel('optimizer', 'sgd'), scaling: kernel('optimizer', 'sgdScaled') };

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
    this.dispatch(kernels, range, { m: range.state[0]! }, { NESTEROV: this.nesterov });
  }
}
