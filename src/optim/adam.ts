import { ConfigError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import type { Tensor } from '../core/tensor.ts';
import type { BufferRange } from '../gpu/stream.ts';
import { Optimizer, type OptimizerOptions, type ParamGroup, type StepValues, type UpdateRange } from './optimizer.ts';

const kernels = { plain: kernel('optimizer', 'adam'), scaling: kernel('optimizer', 'adamScaled') };

export interface AdamOptions extends OptimizerOptions {
  beta2?: number;
  eps?: number;
}

/**
 * Adam with L2 regularisation in the gradient; lr and β₁ (as `momentum`) come with each `step`.
 *
 *   m ← β₁·m + (1−β₁)·g,  v ← β₂·v + (1−β₂)·g²,  p ← p − lr·m̂/(√v̂ + ε),  m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ)
 *
 * t counts the optimizer's updates, those that left a parameter alone included (PyTorch counts for each parameter apart).
 *
 * Source: Kingma and Ba 2015; PyTorch's `torch.optim.Adam`.
 */
export class Adam extends Optimizer {
  protected readonly decoupled: boolean = false;
  private readonly beta2: number;
  private readonly eps: number;

  constructor(
    params: Iterable<Tensor> | readonly ParamGroup[],
    { beta2 = 0.999, eps = 1e-8, ...options }: AdamOptions = {},
  ) {
    if (!(beta2 >= 0 && beta2 < 1))
      throw new ConfigError(`the optimizer: beta2 is ${beta2}; it is 0 or more, and below 1.`);
    if (!(eps >= 0)) throw new ConfigError(`the optimizer: eps is ${eps}; it is 0 or more.`);
    super(params, options, 2);
    this.beta2 = beta2;
    this.eps = eps;
  }

  override prepare(values: StepValues): void {
    const { momentum = 0.9 } = values;
    if (!(momentum >= 0 && momentum < 1))
      throw new ConfigError(
        `the optimizer's step has momentum ${momentum}, which is β₁; it is 0 or more, and below 1.`,
      );
    super.prepare(values);
  }

  protected override extraHyper(momentum: number): number[] {
    // Which updates count is known on the GPU alone, where a loss scale decides: there it takes the logarithms.
    const corrections = [momentum, this.beta2].map((beta) =>
      this.lossScale ? Math.max(Math.log(beta), -100) : 1 - beta ** this.steps,
    );
    return [this.beta2, ...corrections, this.eps, 1 - this.beta2];
  }

  protected override update(range: UpdateRange): void {
    const [m, v] = range.state as [BufferRange, BufferRange];
    this.dispatch(kernels, range, { m, v }, { DECOUPLED: this.decoupled });
  }
}

/** Adam with weight decay apart from the gradient: p ← p − lr·wd·p first. Source: Loshchilov and Hutter 2019; `torch.optim.AdamW`. */
export class AdamW extends Adam {
  protected override readonly decoupled = true;

  constructor(params: Iterable<Tensor> | readonly ParamGroup[], { weightDecay = 0.01, ...options }: AdamOptions = {}) {
    super(params, { weightDecay, ...options });
  }
}

/**
 * Adam as fast.ai has it: AdamW with β₂ .99, ε 1e-5 and decay .01. Its own β₁ is the schedule's momentum, in 1−β₁ᵗ as well. Source:
 * fast.ai v2's `Adam`, which takes no decay from norms and biases: give it the groups of `train.paramGroups`.
 */
export const fastaiAdam = (
  params: Iterable<Tensor> | readonly ParamGroup[],
  { beta2 = 0.99, eps = 1e-5, ...options }: AdamOptions = {},
): AdamW => new AdamW(params, { beta2, eps, ...options });
