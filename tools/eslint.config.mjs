// Rules for the script of the report. `make lint-page` joins its parts before it checks them.
const browser = ["document", "history", "location", "matchMedia", "navigator", "requestAnimationFrame"];
export default [
  {
    languageOptions: {
      ecmaVersion: 2023,
      sourceType: "script",
      globals: Object.fromEntries([...browser, "ResizeObserver", "window"].map((name) => [name, "readonly"])),
    },
    rules: Object.fromEntries(
      [
        "eqeqeq",
        "no-dupe-keys",
        "no-implied-eval",
        "no-redeclare",
        "no-undef",
        "no-unreachable",
        "no-unused-vars",
        "no-shadow",
        "no-var",
        "prefer-const",
      ].map((rule) => [rule, "error"]),
    ),
  },
];
