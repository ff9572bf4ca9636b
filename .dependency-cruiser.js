// Who may import whom, types included. The layers and why: docs/architecture.md.

/** From the lowest up. A layer knows itself and what stands before it. */
const layers = ["kernels/formats", "kernels/base", "kernels", "engine", "model", "templora", "cli"];

/** Files of a layer, without those of a layer inside it. */
const filesOf = (layer) => ({
  path: `^${layer}/`,
  ...(layer === "kernels" && { pathNot: "^kernels/(formats|base)/" }),
});

/** Where Node itself is used below the command line; everything else runs in a browser, too. */
const usesNode = ["^engine/backends/host/"];

export default {
  forbidden: [
    {
      name: "no-circles",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    ...layers.map((layer, i) => ({
      name: `${layer}-knows-what-is-below`,
      comment: `${layer}/ imports from ${layers.slice(0, i + 1).join(", ")}`,
      severity: "error",
      from: filesOf(layer),
      to: {
        path: "^[^/]+/",
        // the command line measures, too
        pathNot: `^(${[...layers.slice(0, i + 1), ...(layer === "cli" ? ["bench"] : [])].join("|")}|node_modules)/`,
        dependencyTypesNot: ["core"],
      },
    })),
    {
      name: "node-by-file",
      comment: "node: is imported in few files; a browser has none of it",
      severity: "error",
      from: { path: "^(kernels|engine|model|templora)/", pathNot: usesNode },
      to: { dependencyTypes: ["core"] },
    },
    { name: "found", severity: "error", from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    combinedDependencies: true,
    doNotFollow: { path: "node_modules" },
    exclude: { path: ["\\.as\\.ts$", "^kernels/build/", "^bench/peers/node_modules/"] },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "types", "default"] },
    detectProcessBuiltinModuleCalls: true,
  },
};
