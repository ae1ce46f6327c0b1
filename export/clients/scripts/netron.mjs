// FOLDER FILE: has Netron's own reader open a file, and prints what it would draw, as JSON.
import * as fs from 'fs';
import * as path from 'path';
import * as url from 'url';

const [folder, file] = process.argv.slice(2);
const load = (name) => import(url.pathToFileURL(path.join(folder, name)).href);
const {ModelFactoryService} = await load('view.js');
const {BinaryStream} = await load('base.js');

// Of the window that Netron looks at files in, what its readers ask for.
const host = {
    type: 'node',
    environment: () => null,
    event: () => {},
    exception: (error) => { throw error; },
    require: (id) => load(`${id}.js`),
    asset: async (name) => fs.readFileSync(path.join(folder, name), 'utf-8'),
};
const context = {
    identifier: path.basename(file),
    stream: new BinaryStream(new Uint8Array(fs.readFileSync(file))),
    tags: new Map(),
    require: host.require,
    asset: host.asset,
    error: host.exception,
};
const model = await new ModelFactoryService(host).open(context);
const [graph] = model.modules;
const operators = graph.nodes.map((node) => node.type.name);
// Each value that is stored is read, as for the panel that shows it; without its bytes it cannot be.
for (const value of graph.nodes.flatMap((node) => node.inputs.flatMap((input) => input.value))) {
    if (value.initializer && !value.initializer.values?.length) {
        throw new Error(`no data of ${value.name}`);
    }
}
console.log(JSON.stringify(operators));
