// Lint rules with type information. What they guard and why: docs/architecture.md. Who may import whom: .dependency-cruiser.js.
import { createNodeResolver, importX } from "eslint-plugin-import-x";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  globalIgnores(["dist/", "docs/api/", "kernels/build/", "**/*.as.ts", "test/golden/", "bench/results/"]),
  {
    files: ["**/*.ts", "**/*.js"],
    extends: [tseslint.configs.recommendedTypeChecked],
    plugins: { "import-x": importX },
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ["*.js"] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    settings: {
      "import-x/parsers": { "@typescript-eslint/parser": [".ts"] },
      "import-x/resolver-next": [createNodeResolver({ extensions: [".ts", ".js"] })],
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      // A scope (`using`) must outlive what is awaited in it.
      "@typescript-eslint/return-await": ["error", "error-handling-correctness-only"],
      "@typescript-eslint/switch-exhaustiveness-check": [
        "error",
        { considerDefaultExhaustiveForUnions: true },
      ],
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      // Numbers in error messages are the point of an error message.
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      // An async function without await is how an interface's synchronous implementation answers a promise.
      "@typescript-eslint/require-await": "off",
      eqeqeq: "error",
      "no-console": "off",
      "import-x/no-extraneous-dependencies": "error",
      "import-x/no-duplicates": ["error", { "prefer-inline": true }],
    },
  },
  {
    // What the published package runs must not lean on development packages.
    files: ["engine/**", "kernels/**", "model/**", "templora/**", "cli/**", "bench/*.ts"],
    ignores: ["bench/*.bench.ts"],
    rules: { "import-x/no-extraneous-dependencies": ["error", { devDependencies: false }] },
  },
);
