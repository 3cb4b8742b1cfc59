import { test } from 'uvu';
import { poolCases } from './cases/pool2d.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(poolCases);

test.run();
