// A client that does what it is told: reads {method, arguments} from each line, calls that method
// of matrix-js-sdk's client ("Name.method": of what the package exports), and writes what comes of
// it as a line. Its arguments are the package's file and the options of the client.

import { createInterface } from "node:readline";

const [file, options] = process.argv.slice(2);
const sdk = await import(file);

// Standard output is for answers.
const logger = { getChild: () => logger };
for (const level of ["trace", "debug", "info", "warn", "error"]) logger[level] = () => {};

let identityToken = null;
const client = sdk.createClient({
    ...JSON.parse(options),
    logger,
    identityServer: { getAccessToken: async () => identityToken },
});

async function call(name, args) {
    const [method, owner] = name.split(".").reverse();
    const result = await (owner ? sdk[owner] : client)[method](...args);
    if (method === "registerWithIdentityServer") identityToken = result.token;
    // A room does not become JSON.
    return result instanceof sdk.Room ? result.roomId : result;
}

for await (const line of createInterface({ input: process.stdin })) {
    const { method, arguments: args } = JSON.parse(line);
    const answer = await call(method, args).then(
        (result) => ({ result }),
        (error) => ({ error: { message: String(error), ...error } }),
    );
    console.log(JSON.stringify(answer));
}
