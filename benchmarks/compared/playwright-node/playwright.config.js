const { defineConfig } = require('@playwright/test');
module.exports = defineConfig({
  testMatch: '*.spec.js', timeout: 60_000, workers: 1, reporter: 'list', expect: { timeout: 10_000 },
  use: { baseURL: 'http://127.0.0.1:9801' },
  webServer: { command: 'python3 ../fakes/fakebox.py 9801', port: 9801, reuseExistingServer: false },
});
