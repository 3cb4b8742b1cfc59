import { test } from 'uvu';
import { convCases } from './cases/conv2d.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(convCases);

test.run();
