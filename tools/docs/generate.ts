import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configDocs } from '../../core/runtime/config/config-docs.ts';
import { packageRoot } from '../../core/runtime/package-root.ts';
import { errorsPage } from './errors-page.ts';

/** Writes the generated pages. Their tests compare the same texts with what is committed. */
const docs = join(packageRoot(), 'docs');
writeFileSync(join(docs, 'errors.md'), errorsPage());
writeFileSync(join(docs, 'config.md'), configDocs());
