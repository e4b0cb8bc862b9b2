// expect.poll on the JSON listing, Playwright Test. No browser.
const { test, expect } = require('@playwright/test');

let began;
const scenario = async (request, name) => { await request.post('/_scenario/' + name); began = performance.now(); };
test.afterEach(({}, info) => console.log(`TIME ${info.title}: ${((performance.now() - began) / 1000).toFixed(2)} s, ${info.status}`));

// the user's helpers: the list, and the state of the process whose command line has that text
const list = async request => {
  const response = await request.get('/api/v1/processes');
  await expect(response).toBeOK();
  return (await response.json()).processes;
};
const state = (request, text) => async () => {
  const p = (await list(request)).find(p => p.args.join(' ').includes(text));
  return p && [p.status, p.exit_code].filter(x => x !== null).join(' ');
};

test('1-oom', async ({ request }) => {
  await scenario(request, '1-oom');
  await expect.poll(state(request, 'train.py')).toBe('exited 0');
});
test('2-exit3', async ({ request }) => {
  await scenario(request, '2-exit3');
  await expect.poll(state(request, 'train.py')).toBe('exited 0');
});
test('3-typo', async ({ request }) => {
  await scenario(request, '3-typo');
  await expect.poll(state(request, 'trian.py')).toBe('running');
});
test('3-typo, as a list', async ({ request }) => {
  await scenario(request, '3-typo');
  await expect.poll(async () => (await list(request)).map(p => p.args.join(' '))).toContain('trian.py');
});
test('4-running', async ({ request }) => {
  await scenario(request, '4-running');
  await expect.poll(state(request, 'train.py')).toBe('exited 0');
});
test('5-ended', async ({ request }) => {
  await scenario(request, '5-ended');
  await expect.poll(state(request, 'server.py')).toBe('running');
});
test('6-vanished', async ({ request }) => {
  await scenario(request, '6-vanished');
  await expect.poll(state(request, 'train.py')).toBe('exited 0');
});
test('7-several', async ({ request }) => {
  await scenario(request, '7-several');
  await expect.poll(state(request, 'train.py')).toBe('exited 0');
});
test('7-several, asked for one', async ({ request }) => {
  await scenario(request, '7-several');
  await expect.poll(async () => (await list(request)).filter(p => p.args.join(' ').includes('train.py')).map(p => `${p.status} ${p.exit_code}`)).toEqual(['exited 0']);
});
test('8-502', async ({ request }) => {
  await scenario(request, '8-502');
  await expect.poll(state(request, 'train.py')).toBe('exited 0');
});
test('8-502 without toBeOK', async ({ request }) => {
  await scenario(request, '8-502');
  await expect.poll(async () => {
    const { processes } = await (await request.get('/api/v1/processes')).json();
    return processes.find(p => p.args.join(' ').includes('train.py'))?.status;
  }).toBe('exited');
});
test('8-502 toPass', async ({ request }) => {
  await scenario(request, '8-502');
  await expect(async () => expect(await state(request, 'train.py')()).toBe('exited 0')).toPass({ timeout: 10_000 });
});
test('9-restart', async ({ request }) => {
  await scenario(request, '9-restart');
  await new Promise(r => setTimeout(r, 1200)); // the rest of the test
  await expect.poll(state(request, 'web.py')).toBe('running');
});
test('10-soft', async ({ request }) => {
  await scenario(request, '10-soft');
  expect.soft(await state(request, 'api.py')()).toBe('running');
  expect.soft(await state(request, 'worker.py')()).toBe('running');
  expect.soft(await state(request, 'train.py')()).toBe('exited 0');
});
