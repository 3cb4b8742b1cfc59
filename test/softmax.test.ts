import { test } from 'uvu';
import { softmaxAndLossCases } from './cases/softmax.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(softmaxAndLossCases);

test.run();
