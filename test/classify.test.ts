import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import { createModel } from '../src/models/index.ts';
import { classify } from '../src/train/classify.ts';
import { Evaluator } from '../src/train/evaluator.ts';
import { gpuTest, messageOf } from './gpu.ts';

gpuTest(
  'images of one’s own are seen as those that validated, and refused where they are of another size',
  async () => {
    const { valid } = drawToyfaces(7);
    const size = valid.side * valid.side * valid.channels;
    const images = Array.from({ length: 5 }, (_, i) => valid.pixels.subarray(i * size, (i + 1) * size));
    const options = {
      classes: 7,
      channels: 1,
      size: 40,
      width: 0.125,
      head: 'fastai',
      pool: 1,
      dropout: 0.5,
      seed: 1,
    } as const;
    const model = createModel('vgg11_bn', options);
    const normalisation = { mean: [0.4], std: [0.2] };
    const facts = {
      options,
      normalisation,
      augment: 'fer',
      storedSide: valid.side,
      storedChannels: valid.channels,
    } as const;
    const shares = await classify({ model, facts }, images, { batch: 2 });
    const framing = 'centre';
    const evaluator = new Evaluator(valid, { batch: 2, size: 40, channels: 1, normalisation, framing });
    assert.equal(shares, (await evaluator.probabilities(model)).slice(0, 5));
    assert.equal(await classify({ model, facts }, []), []);
    const message = await messageOf(() => classify({ model, facts }, [images[0]!, images[1]!.subarray(1)]));
    assert.is(message, `classify: image 1 has ${size - 1} values; those of the network are 48×48×1, ${size}.`);
  },
);

test.run();
