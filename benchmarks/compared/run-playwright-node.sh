#!/bin/sh
# npm i @playwright/test  (no browser)
cd "$(dirname "$0")/playwright-node" && FORCE_COLOR=0 timeout 300 npx playwright test
