import { test } from 'uvu';
import { unaryCases } from './cases/unary.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(unaryCases);

test.run();
