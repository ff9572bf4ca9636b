/**
 * What is known of a product when it is compiled, as classes without fields (compiled in where they are used, as in
 * formats/blocks.as.ts): how an operand lies, and whether the output is added to.
 */

/** An operand whose depth runs along memory: row r, depth d is element r · D + d … */
@unmanaged @final export class Along {
  @inline get along(): bool { return true; }
}

/** … or across it: row r, depth d is element d · (number of rows) + r. */
@unmanaged @final export class Across {
  @inline get along(): bool { return false; }
}

/** c = … */
@unmanaged @final export class Assign {
  @inline get accumulate(): bool { return false; }
}

/** c += … */
@unmanaged @final export class Accumulate {
  @inline get accumulate(): bool { return true; }
}
