import { test } from 'uvu';
import { dropoutCases } from './cases/dropout.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(dropoutCases);

test.run();
