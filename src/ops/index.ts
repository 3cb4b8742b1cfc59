export { type BatchNormOptions, batchNorm } from './batchnorm.ts';
export { add, div, maximum, minimum, mul, sub } from './binary.ts';
export { cast } from './cast.ts';
export { type Conv2dOptions, conv2d } from './conv2d.ts';
export { dropout } from './dropout.ts';
export { linear } from './linear.ts';
export { type MatmulOptions, matmul } from './matmul.ts';
export {
  type AveragePoolOptions,
  adaptiveAvgPool2d,
  adaptiveMaxPool2d,
  avgPool2d,
  maxPool2d,
  type PoolOptions,
} from './pool2d.ts';
export { max, mean, min, type ReduceOptions, sum } from './reduce.ts';
export { concat, expand, flatten, pad, permute, reshape, slice } from './reshape.ts';
export { type CrossEntropyOptions, crossEntropy, logSoftmax, softmax } from './softmax.ts';
export { abs, exp, gelu, log, neg, relu, sigmoid, silu, softplus, sqrt, square, tanh } from './unary.ts';
export { upsampleNearest2d } from './upsample.ts';
