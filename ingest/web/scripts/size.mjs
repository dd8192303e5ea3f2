// Measures what the first visit transfers, and fails above the budget.
//
// Everything in dist counts, also what loads later, each file gzipped as a server would send it.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';

const DIST = new URL('../dist/', import.meta.url).pathname;
const BUDGET_BYTES = 120 * 1024;

const files = (folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });

let total = 0;
for (const path of files(DIST).sort()) {
  const bytes = readFileSync(path);
  const gzipped = gzipSync(bytes, { level: 6 }).length;
  total += gzipped;
  console.log(`${String(gzipped).padStart(8)} B gzipped ${String(bytes.length).padStart(8)} B  ${relative(DIST, path)}`);
}
console.log(`${String(total).padStart(8)} B gzipped in all, budget ${BUDGET_BYTES} B`);
if (total > BUDGET_BYTES) {
  console.error('the page is over its budget');
  process.exit(1);
}
