/**
 * Adds a counter to every block, branch and function of a TypeScript module, so that a fuzzer sees which of them an input reaches. The
 * counters are put into the source text, without a line more; what is compiled afterwards is the compiler's affair.
 */
import ts from "typescript";
import { COUNTERS } from "./counters.ts";

export interface Instrumented {
  readonly code: string;
  /** The first number that is free behind those of this module. */
  readonly next: number;
  /** The words that the module knows: its short strings, and then its names. */
  readonly words: readonly [strings: readonly string[], names: readonly string[]];
}

/** `first`: the number of the module's first counter. */
export function instrument(text: string, name: string, first: number): Instrumented {
  const source = ts.createSourceFile(name, text, ts.ScriptTarget.ES2023, true);
  const inserted: { readonly at: number; readonly text: string; readonly order: number }[] = [];
  const [strings, names] = [new Set<string>(), new Set<string>()];
  let next = first;
  const put = (at: number, text: string, order = inserted.length): void =>
    void inserted.push({ at, text, order });
  const count = (): string => `${COUNTERS}[${next++}]++`;
  /** Where several end at one place, the innermost is closed first: the one that opened last. */
  const around = (node: ts.Node, [open, close]: readonly [string, string]): void => {
    put(node.getStart(source), open);
    put(node.end, close, -inserted.length);
  };
  const statement = (node: ts.Statement | undefined): void => {
    if (node && !ts.isBlock(node) && !ts.isIfStatement(node)) around(node, [`{${count()};`, "}"]);
  };
  const expression = (node: ts.Expression): void => around(node, [`(${count()},`, ")"]);
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isImportDeclaration(node)) return;
    if (ts.isBlock(node)) put(node.getStart(source) + 1, `${count()};`);
    else if (ts.isCaseOrDefaultClause(node)) {
      const [begin] = node.statements;
      if (begin) put(begin.getStart(source), `${count()};`);
    } else if (ts.isIfStatement(node)) {
      statement(node.thenStatement);
      statement(node.elseStatement);
    } else if (ts.isIterationStatement(node, false)) statement(node.statement);
    else if (ts.isConditionalExpression(node)) {
      expression(node.whenTrue);
      expression(node.whenFalse);
    } else if (ts.isBinaryExpression(node) && LAZY.has(node.operatorToken.kind)) expression(node.right);
    else if (ts.isArrowFunction(node) && !ts.isBlock(node.body)) expression(node.body);
    if (ts.isStringLiteral(node) && /^\S{2,40}$/.test(node.text)) strings.add(node.text);
    if (ts.isIdentifier(node) && node.text.length > 1) names.add(node.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  inserted.sort((a, b) => a.at - b.at || a.order - b.order);
  let [code, done] = ["", 0];
  for (const { at, text: piece } of inserted) {
    code += text.slice(done, at) + piece;
    done = at;
  }
  return { code: code + text.slice(done), next, words: [[...strings], [...names]] };
}

/** Operators whose right side may never be reached. */
const LAZY: ReadonlySet<ts.SyntaxKind> = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.QuestionQuestionToken,
  ts.SyntaxKind.AmpersandAmpersandEqualsToken,
  ts.SyntaxKind.BarBarEqualsToken,
  ts.SyntaxKind.QuestionQuestionEqualsToken,
]);
