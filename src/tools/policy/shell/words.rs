//! The reader: one pass over the characters of a script.
//!
//! ```text
//!  list ─► Draft (words so far) ─► commands
//!    └► quoted, dollar, backquote ─► list again, one level deeper
//! ```

use super::{BEFORE_A_COMMAND, Simple, settle};

/// Substitutions are nested in each other beyond all reason.
#[derive(Debug)]
pub(in super::super) struct TooDeep;

/// What stands in a word for the output of a command.
const SUBSTITUTED: &str = "$(…)";

/// A script, how far it is read, and what was found.
pub(super) struct Reader {
    text: Vec<char>,
    at: usize,
    levels: usize,
    pub(super) commands: Vec<Simple>,
    /// Here-documents whose text begins with the next line.
    announced: Vec<HereDocument>,
}

struct HereDocument {
    /// The command that reads it, once that is found.
    reader: Option<usize>,
    end: String,
    quoted: bool,
    tabs_are_cut: bool,
}

/// The command that is being read.
#[derive(Default)]
struct Draft {
    words: Vec<String>,
    word: Option<String>,
    /// Whether something in the word is quoted.
    quoted: bool,
    /// What the word is, if it is no argument.
    target: Option<Target>,
    input: Option<String>,
    /// How many parentheses and how many `case` are open.
    parentheses: usize,
    cases: usize,
}

enum Target {
    File,
    HereString,
    HereDocument { tabs_are_cut: bool },
}

impl Reader {
    pub(super) fn new(script: &str, levels: usize) -> Self {
        Self { text: script.chars().collect(), at: 0, levels, commands: Vec::new(), announced: Vec::new() }
    }

    /// Reads commands to the end, or to the parenthesis that closes a substitution.
    pub(super) fn list(&mut self, in_substitution: bool) -> Result<(), TooDeep> {
        let mut draft = Draft::default();
        while let Some(c) = self.next() {
            match c {
                ' ' | '\t' | '\r' => self.end_word(&mut draft),
                '\n' => {
                    self.end_command(&mut draft);
                    self.here_documents()?;
                }
                '#' if draft.word.is_none() => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                '&' if self.take('>') => {
                    self.end_word(&mut draft);
                    self.take('>');
                    draft.target = Some(Target::File);
                }
                ';' | '|' | '&' => self.end_command(&mut draft),
                '(' if self.take(')') => {
                    // `name()`: a function's name is no command.
                    draft.word = None;
                    draft.words.clear();
                }
                '(' => {
                    draft.parentheses += 1;
                    self.end_command(&mut draft);
                }
                ')' => {
                    self.end_word(&mut draft);
                    let is_pattern = draft.parentheses == 0 && draft.cases > 0;
                    if is_pattern {
                        draft.words.clear();
                    } else if draft.parentheses == 0 && in_substitution {
                        break;
                    }
                    draft.parentheses = draft.parentheses.saturating_sub(1);
                    self.end_command(&mut draft);
                }
                '<' | '>' => self.redirection(c, &mut draft)?,
                _ => self.part_of_word(c, &mut draft)?,
            }
        }
        self.end_command(&mut draft);
        Ok(())
    }

    fn part_of_word(&mut self, c: char, draft: &mut Draft) -> Result<(), TooDeep> {
        if c == '\\' && self.take('\n') {
            return Ok(());
        }
        draft.quoted |= matches!(c, '\\' | '\'' | '"');
        let word = draft.word.get_or_insert_default();
        match c {
            '\\' => word.extend(self.next()),
            '\'' => {
                while let Some(c) = self.next().filter(|c| *c != '\'') {
                    word.push(c);
                }
            }
            '"' => self.quoted(word, '"')?,
            '`' => self.backquote(word)?,
            '$' if self.take('\'') => self.escaped(word),
            '$' if self.peek() == Some('"') => {}
            '$' => self.dollar(word)?,
            c => word.push(c),
        }
        Ok(())
    }

    /// Reads text in which only `\`, `$` and backquotes mean something, to its `end`.
    fn quoted(&mut self, word: &mut String, end: char) -> Result<(), TooDeep> {
        while let Some(c) = self.next() {
            match c {
                c if c == end => break,
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(c @ ('$' | '`' | '"' | '\\')) => word.push(c),
                    Some(c) => word.extend(['\\', c]),
                },
                '`' => self.backquote(word)?,
                '$' => self.dollar(word)?,
                c => word.push(c),
            }
        }
        Ok(())
    }

    /// Reads what follows a `$`.
    fn dollar(&mut self, word: &mut String) -> Result<(), TooDeep> {
        if self.take('(') {
            self.deeper(|reader| reader.list(true))?;
            word.push_str(SUBSTITUTED);
        } else if self.take('{') {
            word.push_str("${");
            self.deeper(|reader| reader.quoted(word, '}'))?;
            word.push('}');
        } else {
            word.push('$');
        }
        Ok(())
    }

    fn backquote(&mut self, word: &mut String) -> Result<(), TooDeep> {
        let mut script = String::new();
        while let Some(c) = self.next().filter(|c| *c != '`') {
            match c {
                '\\' if matches!(self.peek(), Some('`' | '$' | '\\')) => script.extend(self.next()),
                c => script.push(c),
            }
        }
        word.push_str(SUBSTITUTED);
        self.deeper(|reader| {
            let mut inner = Reader::new(&script, reader.levels);
            inner.list(false)?;
            reader.commands.append(&mut inner.commands);
            Ok(())
        })
    }

    /// Reads `$'…'`, in which characters may be written as numbers.
    fn escaped(&mut self, word: &mut String) {
        while let Some(c) = self.next().filter(|c| *c != '\'') {
            if c != '\\' {
                word.push(c);
                continue;
            }
            match self.next() {
                Some('n') => word.push('\n'),
                Some('t') => word.push('\t'),
                Some('x') => word.extend(self.number(16, 2)),
                Some('u') => word.extend(self.number(16, 4)),
                Some('U') => word.extend(self.number(16, 8)),
                Some('0'..='7') => {
                    self.at -= 1;
                    word.extend(self.number(8, 3));
                }
                other => word.extend(other),
            }
        }
    }

    fn number(&mut self, radix: u32, most: usize) -> Option<char> {
        let mut value = 0u32;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)) else { break };
            value = value.wrapping_mul(radix).wrapping_add(digit);
            self.at += 1;
        }
        char::from_u32(value)
    }

    fn redirection(&mut self, c: char, draft: &mut Draft) -> Result<(), TooDeep> {
        if self.take('(') {
            draft.word.get_or_insert_default().push_str(SUBSTITUTED);
            return self.deeper(|reader| reader.list(true));
        }
        // `2>`: the number belongs to the redirection.
        if draft.word.as_ref().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit())) && !draft.quoted {
            draft.word = None;
        }
        self.end_word(draft);
        draft.target = Some(if c == '<' && self.take('<') {
            if self.take('<') { Target::HereString } else { Target::HereDocument { tabs_are_cut: self.take('-') } }
        } else {
            let _ = self.take(c) || self.take('&') || self.take('|') || self.take('>');
            Target::File
        });
        Ok(())
    }

    fn end_word(&mut self, draft: &mut Draft) {
        let quoted = std::mem::take(&mut draft.quoted);
        let Some(word) = draft.word.take() else { return };
        match draft.target.take() {
            Some(Target::File) => {}
            Some(Target::HereString) => draft.input = Some(word),
            Some(Target::HereDocument { tabs_are_cut }) => {
                self.announced.push(HereDocument { reader: None, end: word, quoted, tabs_are_cut });
            }
            None => {
                let opens = draft.words.iter().all(|word| BEFORE_A_COMMAND.contains(&word.as_str()));
                match word.as_str() {
                    "case" if opens => draft.cases += 1,
                    "esac" if opens => draft.cases = draft.cases.saturating_sub(1),
                    _ => {}
                }
                draft.words.push(word);
            }
        }
    }

    fn end_command(&mut self, draft: &mut Draft) {
        self.end_word(draft);
        draft.target = None;
        let mut words = std::mem::take(&mut draft.words);
        let input = draft.input.take();
        settle(&mut words);
        if !words.is_empty() {
            for document in self.announced.iter_mut().filter(|document| document.reader.is_none()) {
                document.reader = Some(self.commands.len());
            }
            self.commands.push(Simple { words, input });
        }
    }

    /// Reads the here-documents that the line before has announced.
    fn here_documents(&mut self) -> Result<(), TooDeep> {
        for document in std::mem::take(&mut self.announced) {
            let mut text = String::new();
            while self.at < self.text.len() {
                let line = self.line();
                let line = if document.tabs_are_cut { line.trim_start_matches('\t') } else { &line };
                if line == document.end {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            if !document.quoted {
                self.deeper(|reader| {
                    let mut inner = Reader::new(&text, reader.levels);
                    // NUL stands in no command: all of the text is read.
                    inner.quoted(&mut String::new(), '\0')?;
                    reader.commands.append(&mut inner.commands);
                    Ok(())
                })?;
            }
            if let Some(command) = document.reader.and_then(|reader| self.commands.get_mut(reader)) {
                command.input = Some(text);
            }
        }
        Ok(())
    }

    fn line(&mut self) -> String {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
        self.at = self.text.len().min(self.at + length + 1);
        rest[..length].iter().collect()
    }

    /// Reads something that is nested in what is being read.
    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Result<(), TooDeep>) -> Result<(), TooDeep> {
        self.levels = self.levels.checked_sub(1).ok_or(TooDeep)?;
        read(self)?;
        self.levels += 1;
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, c: char) -> bool {
        let is_next = self.peek() == Some(c);
        self.at += usize::from(is_next);
        is_next
    }
}
