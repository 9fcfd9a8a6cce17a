"""Writes a copy of the sources in which each mutant is a branch that is chosen at run time.

`a + b` becomes `(if !crate::mutant::is(7) { a + b } else { a - b })`. The mutated branch holds the
original text of its operands: no two mutants are on at once.
"""

import re
from dataclasses import dataclass, field

import tree_sitter_rust
from tree_sitter import Language, Parser

LANGUAGE = Language(tree_sitter_rust.language())


class NotPossible(Exception):
    """The mutation is not valid Rust, or cannot be chosen at run time."""


@dataclass
class Mutant:
    """One small change."""

    file: str
    function: str
    # What is changed, in words.
    change: str
    line: int
    column: int
    # The source line.
    code: str
    genre: str = "ByHand"
    replacement: str = ""
    span: tuple = ()
    return_type: str = ""
    number: int = 0
    # Of several with the same words on the same source line, which one.
    nth: int = 1

    @property
    def key(self):
        """Names it as long as its source line does not change."""
        return (self.file, self.function, self.change, self.code, self.nth)

    def __str__(self):
        place = f"{self.file}:{self.line}:{self.column}"
        inside = f" in {self.function}" if self.function else ""
        return f"{place}: {self.change}{inside}"


@dataclass
class Edit:
    """Text around, or instead of, a range of the source; what is in the range may be edited too."""

    start: int
    end: int
    before: bytes
    after: bytes
    # The mutated text in `after`, as a range of it, and its mutant.
    mutated: tuple = (0, 0)
    mutant: Mutant | None = None
    inner: list = field(default_factory=list)


def switch(mutant):
    return b"crate::mutant::is(%d)" % mutant.number


def choice(start, end, mutant, text):
    """The range as it is, or this text."""
    before = b"(if !%s { " % switch(mutant)
    middle = b" } else { "
    after = middle + text + b" })"
    return Edit(start, end, before, after, (len(middle), len(middle) + len(text)), mutant)


def insertion(at, before, text, after, mutant):
    whole = before + text + after
    return Edit(at, at, b"", whole, (len(before), len(before) + len(text)), mutant)


class Source:
    """A file, its syntax tree, and the edits that put its mutants in."""

    def __init__(self, text):
        self.text = text
        self.lines = [0]
        for line in text.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.root = Parser(LANGUAGE).parse(text).root_node
        self.edits = []
        # The constants that have become functions.
        self.functions = set()

    def offset(self, place):
        """The byte offset of a line and a column, which count characters from 1."""
        line, column = place
        begin = self.lines[line - 1]
        characters = self.text[begin : self.lines[line]].decode()[: column - 1]
        return begin + len(characters.encode())

    def node(self, start, end, kinds):
        """The smallest node of one of these kinds that spans the range."""
        node = self.root.descendant_for_byte_range(start, end)
        while node is not None and node.type not in kinds:
            node = node.parent
        if node is None:
            raise NotPossible("no such node")
        return node

    def slice(self, node):
        return self.text[node.start_byte : node.end_byte]

    def add(self, mutant):
        start, end = (self.offset(place) for place in mutant.span)
        add = {
            "FnValue": self.add_value,
            "BinaryOperator": self.add_binary,
            "UnaryOperator": self.add_unary,
            "MatchArmGuard": self.add_guard,
            "MatchArm": self.add_arm,
            "StructField": self.add_field,
        }[mutant.genre]
        add(mutant, start, end)

    def add_value(self, mutant, start, end):
        """The function returns another value at once."""
        value = mutant.replacement.encode()
        if "impl " not in mutant.return_type:
            self.edits.append(insertion(start, b"if %s { return " % switch(mutant), value, b"; } ", mutant))
            return
        if "Iterator" not in mutant.return_type:
            raise NotPossible("two types behind one `impl`")
        # Two iterators of different types, behind one.
        before = b"let all: Box<dyn Iterator<Item = _> + '_> = if !%s { Box::new({ " % switch(mutant)
        middle = b" }) } else { Box::new("
        after = middle + value + b") }; all"
        mutated = (len(middle), len(middle) + len(value))
        self.edits.append(Edit(start, end, before, after, mutated, mutant))

    def add_binary(self, mutant, start, end):
        operator = self.root.descendant_for_byte_range(start, end)
        node = operator.parent
        if node.type == "let_chain":
            raise NotPossible("`let` in a condition takes no `||`")
        if node.type not in ("binary_expression", "compound_assignment_expr"):
            raise NotPossible(f"{node.type} is no operation")
        text = self.text[node.start_byte : start] + mutant.replacement.encode() + self.text[end : node.end_byte]
        self.change(node, mutant, text)

    def add_unary(self, mutant, start, end):
        node = self.node(start, end, ["unary_expression", "negative_literal"])
        self.change(node, mutant, self.text[node.start_byte + 1 : node.end_byte])

    def add_guard(self, mutant, start, end):
        self.edits.append(choice(start, end, mutant, mutant.replacement.encode()))

    def add_arm(self, mutant, start, end):
        """The arm's pattern does not match."""
        pattern = self.node(start, end, ["match_arm"]).child_by_field_name("pattern")
        condition = pattern.child_by_field_name("condition")
        if condition is not None:
            before = b"(!%s && (" % switch(mutant)
            self.edits.append(Edit(condition.start_byte, condition.end_byte, before, b"))", mutant=mutant))
        else:
            self.edits.append(insertion(pattern.end_byte, b" if ", b"!" + switch(mutant), b" ", mutant))

    def add_field(self, mutant, start, end):
        """The field has the base's value."""
        node = self.node(start, end, ["struct_expression"])
        if self.text[end : end + 1] == b",":
            end += 1
        text = self.text[node.start_byte : start] + self.text[end : node.end_byte]
        self.edits.append(choice(node.start_byte, node.end_byte, mutant, text))

    def change(self, node, mutant, text):
        constant = node
        while constant is not None and constant.type != "const_item":
            if constant.type == "function_item":
                constant = None
                break
            constant = constant.parent
        if constant is not None:
            self.make_function(constant)
        self.edits.append(choice(node.start_byte, node.end_byte, mutant, text))

    def make_function(self, constant):
        """A constant cannot be chosen at run time; a function of the same name can."""
        name = constant.child_by_field_name("name")
        if self.slice(name) in self.functions:
            return
        self.functions.add(self.slice(name))
        tokens = {"const": b"fn", ":": b"() ->", "=": b"{", ";": b"}"}
        self.edits.append(Edit(constant.start_byte, constant.start_byte, b"#[allow(non_snake_case)] ", b""))
        for token in constant.children:
            if token.type in tokens:
                text = tokens[token.type] + b" /* "
                self.edits.append(Edit(token.start_byte, token.end_byte, text, b" */"))
        for use in self.uses(self.root, self.slice(name)):
            if use.start_byte != name.start_byte:
                self.edits.append(Edit(use.start_byte, use.end_byte, b"", b"()"))

    def uses(self, node, name):
        if node.type == "identifier" and self.slice(node) == name:
            yield node
        for child in node.children:
            yield from self.uses(child, name)

    def add_by_hand(self, mutant):
        """An expression or statements, given as bytes from and to, or another text."""
        start, end = mutant.span
        edit = choice(start, end, mutant, mutant.replacement.encode())
        if mutant.code.endswith((";", "}")):
            # Statements: no value, and so no parentheses.
            edit.before, edit.after = edit.before[1:], edit.after[:-1]
        self.edits.append(edit)

    def render(self):
        """The text with its edits, and of each mutant the byte range of its mutated text."""
        # Wider ranges first; what is inserted at a place goes before what begins there.
        ordered = sorted(self.edits, key=lambda edit: (edit.start, edit.end != edit.start, -edit.end))
        top, open_edits = [], []
        for edit in ordered:
            edit.inner = []
            while open_edits and open_edits[-1].end <= edit.start:
                open_edits.pop()
            if open_edits and edit.end > open_edits[-1].end:
                raise ValueError(f"{edit.mutant} overlaps {open_edits[-1].mutant}")
            (open_edits[-1].inner if open_edits else top).append(edit)
            if edit.end > edit.start:
                open_edits.append(edit)
        out, ranges = bytearray(), []
        self.write(out, ranges, 0, len(self.text), top)
        return bytes(out), ranges

    def write(self, out, ranges, start, end, edits):
        for edit in edits:
            out += self.text[start : edit.start]
            out += edit.before
            self.write(out, ranges, edit.start, edit.end, edit.inner)
            first, last = edit.mutated
            mutated = edit.after[first:last]
            for name in self.functions:
                mutated = re.sub(rb"\b%s\b" % name, name + b"()", mutated)
            if edit.mutant is not None:
                ranges.append((len(out) + first, len(out) + first + len(mutated), edit.mutant))
            out += edit.after[:first] + mutated + edit.after[last:]
            start = edit.end
        out += self.text[start:end]


def mutant_of(entry, line):
    """A mutant of cargo-mutants' list."""
    span = entry["span"]
    start, end = ((span[which]["line"], span[which]["column"]) for which in ("start", "end"))
    function = entry["function"] or {}
    name = function.get("function_name", "")
    change = re.sub(r"^\S+?:\d+:\d+: ", "", entry["name"])
    change = change.removesuffix(f" in {name}")
    return Mutant(
        file=entry["file"],
        function=name,
        change=change,
        line=start[0],
        column=start[1],
        code=line,
        genre=entry["genre"],
        replacement=entry["replacement"],
        span=(start, end),
        return_type=function.get("return_type") or "",
    )
