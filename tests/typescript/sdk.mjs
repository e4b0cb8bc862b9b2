// Calls the file routes and the tunnel of a sandbox with the official TypeScript SDK.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { Sandbox } from "tensorlake";

const { SANDBOX_ID, SANDBOX_URL, SANDBOX_KEY, FOLDER, PORT } = process.env;
const sandbox = new Sandbox({ sandboxId: SANDBOX_ID, proxyUrl: SANDBOX_URL, apiKey: SANDBOX_KEY });

const refused = async (call) => {
  const error = await call.then(() => assert.fail("the call passed"), (reason) => reason);
  const [, status, body] = /^API error \(status (\d+)\): (.*)$/s.exec(error.message);
  return [Number(status), JSON.parse(body).code];
};

// Files
const content = new Uint8Array(3_000_000).map((_, index) => index);
const file = `${FOLDER}/new/a b`;
await sandbox.writeFile(file, content);
assert.deepEqual(Buffer.from(await sandbox.readFile(file)), Buffer.from(content));
const { path, entries } = await sandbox.listDirectory(`${FOLDER}/new`);
assert.equal(path, `${FOLDER}/new`);
assert.deepEqual(
  entries.map(({ name, isDir, size }) => [name, isDir, size]),
  [["a b", false, content.length]],
);
assert.deepEqual(await refused(sandbox.readFile(FOLDER)), [400, "IS_DIRECTORY"]);
assert.deepEqual(await refused(sandbox.listDirectory(file)), [400, "NOT_A_DIRECTORY"]);
assert.deepEqual(await refused(sandbox.writeFile("/written", content)), [403, "WRITE_NOT_ALLOWED"]);
await sandbox.deleteFile(file);
for (const call of [sandbox.readFile(file), sandbox.deleteFile(file)])
  assert.deepEqual(await refused(call), [404, "NOT_FOUND"]);

// The tunnel: the service at PORT sends back what it receives.
const tunnel = await sandbox.createTunnel(Number(PORT), { localPort: 0 });
const client = net.connect(tunnel.localPort, tunnel.localHost);
client.write("hello");
assert.equal(String((await once(client, "data"))[0]), "hello");
client.destroy();
await tunnel.close();
console.log("passed");
