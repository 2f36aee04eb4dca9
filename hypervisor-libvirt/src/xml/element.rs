//! An ordered element tree: what is not understood is kept, so that an update loses nothing.

use std::borrow::Cow;
use std::fmt;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Deeper than any document of libvirt's, and shallow enough for the stack of any thread.
const MAX_DEPTH: usize = 96;
/// More than any element of libvirt's has: the reader compares each with all before it.
const MAX_ATTRIBUTES: usize = 128;

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("XML: {0}")]
pub struct XmlError(String);

impl XmlError {
    /// An error with this reason.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl From<quick_xml::Error> for XmlError {
    fn from(error: quick_xml::Error) -> Self {
        Self(error.to_string())
    }
}

/// One thing inside an element, in document order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Node {
    /// A nested element.
    Element(Element),
    /// Character data, unescaped.
    Text(String),
    /// A `<![CDATA[…]]>` section.
    CData(String),
    /// A comment.
    Comment(String),
    /// A processing instruction.
    Instruction(String),
}

/// An element with its attributes and children in document order. Names carry their prefix (`qemu:commandline`).
///
/// ```
/// use hypervisor_libvirt::xml::Element;
/// let mut domain = Element::parse("<domain><!-- mine --><memory unit='KiB'>4</memory></domain>").unwrap();
/// domain.ensure("memory").set_attr("unit", "MiB").set_text("8");
/// assert_eq!(domain.to_string(), r#"<domain><!-- mine --><memory unit="MiB">8</memory></domain>"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The name with its prefix.
    pub name: String,
    /// Attributes in document order, unescaped; namespace declarations are among them.
    pub attributes: Vec<(String, String)>,
    /// Children in document order.
    pub children: Vec<Node>,
}

impl Element {
    /// An element without attributes and children.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), attributes: Vec::new(), children: Vec::new() }
    }

    /// Reads a document and returns its root.
    ///
    /// # Errors
    /// When the document is not well-formed, has a document type, uses entities of its own, is nested too deeply, has too many attributes in one
    /// element, or has a character that XML cannot carry.
    pub fn parse(document: &str) -> Result<Self, XmlError> {
        carried(document)?;
        let mut reader = Reader::from_str(document);
        let mut open: Vec<Element> = Vec::new();
        let mut root = None;
        loop {
            match reader.read_event()? {
                Event::Start(start) => {
                    if open.len() >= MAX_DEPTH {
                        return Err(XmlError::new(format!("nested deeper than {MAX_DEPTH} elements")));
                    }
                    if root.is_some() {
                        return Err(XmlError::new("more than one root element"));
                    }
                    open.push(read_start(&start)?);
                }
                Event::Empty(start) => close(read_start(&start)?, &mut open, &mut root)?,
                Event::End(_) => {
                    let element = open.pop().ok_or_else(|| XmlError::new("an end without a start"))?;
                    close(element, &mut open, &mut root)?;
                }
                Event::Text(text) => push_text(&text.xml10_content(), &mut open)?,
                Event::GeneralRef(reference) => push_text(&resolve(&reference)?, &mut open)?,
                Event::CData(data) => push(Node::CData(data.xml10_content().into_owned()), &mut open),
                Event::Comment(comment) => {
                    push(Node::Comment(comment.xml10_content().into_owned()), &mut open)
                }
                Event::PI(instruction) => {
                    push(Node::Instruction(instruction.into_inner().into_owned()), &mut open)
                }
                Event::Decl(_) => {}
                Event::DocType(_) => return Err(XmlError::new("a document type is not accepted")),
                Event::Eof => break,
            }
        }
        match (open.last(), root) {
            (Some(open), _) => Err(XmlError::new(format!("<{}> is not closed", open.name))),
            (None, None) => Err(XmlError::new("there is no root element")),
            (None, Some(root)) => Ok(root),
        }
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether an attribute has this value.
    #[must_use]
    pub fn attr_is(&self, name: &str, value: &str) -> bool {
        self.attr(name) == Some(value)
    }

    /// Sets an attribute where it stands, or appends it.
    pub fn set_attr(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        match self.attributes.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
        self
    }

    /// Removes an attribute.
    pub fn remove_attr(&mut self, name: &str) -> Option<String> {
        let at = self.attributes.iter().position(|(key, _)| key == name)?;
        Some(self.attributes.remove(at).1)
    }

    /// The character data directly inside, put together.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        let mut parts = self.children.iter().filter_map(|node| match node {
            Node::Text(text) | Node::CData(text) => Some(text.as_str()),
            _ => None,
        });
        let first = parts.next().unwrap_or_default();
        match parts.next() {
            None => Cow::Borrowed(first),
            Some(second) => Cow::Owned([first, second].into_iter().chain(parts).collect()),
        }
    }

    /// Replaces the character data directly inside; elements and comments stay.
    pub fn set_text(&mut self, text: impl Into<String>) -> &mut Self {
        self.children.retain(|node| !matches!(node, Node::Text(_) | Node::CData(_)));
        self.children.push(Node::Text(text.into()));
        self
    }

    /// The elements directly inside.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    /// The elements directly inside, to be changed.
    pub fn elements_mut(&mut self) -> impl Iterator<Item = &mut Element> {
        self.children.iter_mut().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    /// The first child of this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.elements().find(|element| element.name == name)
    }

    /// The first child of this name, to be changed.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Element> {
        self.elements_mut().find(|element| element.name == name)
    }

    /// The children of this name.
    pub fn children(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.elements().filter(move |element| element.name == name)
    }

    /// The first element at a path below this one: `"devices/disk"`.
    #[must_use]
    pub fn path(&self, path: &str) -> Option<&Element> {
        path.split('/').try_fold(self, |element, name| element.child(name))
    }

    /// All elements at a path: every `disk` in the first `devices`.
    #[must_use]
    pub fn all(&self, path: &str) -> Vec<&Element> {
        let (parent, last) = match path.rsplit_once('/') {
            Some((parent, last)) => (self.path(parent), last),
            None => (Some(self), path),
        };
        parent.map(|parent| parent.children(last).collect()).unwrap_or_default()
    }

    /// The text at a path, trimmed; `None` when there is none or it is empty.
    #[must_use]
    pub fn text_at(&self, path: &str) -> Option<String> {
        let text = self.path(path)?.text().trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// The text at a path as it stands; `None` when there is none or it is empty.
    #[must_use]
    pub fn raw_text_at(&self, path: &str) -> Option<String> {
        let text = self.path(path)?.text().into_owned();
        (!text.is_empty()).then_some(text)
    }

    /// An attribute of the first element at a path.
    #[must_use]
    pub fn attr_at(&self, path: &str, name: &str) -> Option<&str> {
        self.path(path)?.attr(name)
    }

    /// The first child of this name, appended where there is none.
    pub fn ensure(&mut self, name: &str) -> &mut Element {
        let found = self
            .children
            .iter()
            .position(|node| matches!(node, Node::Element(element) if element.name == name));
        let at = found.unwrap_or_else(|| {
            self.children.push(Node::Element(Element::new(name)));
            self.children.len().saturating_sub(1)
        });
        match self.children.get_mut(at) {
            Some(Node::Element(element)) => element,
            // The position was found, or made, two lines above.
            _ => unreachable!("the child stands at its position"),
        }
    }

    /// Sets the text of the first child of this name, which is appended where there is none.
    pub fn set_child_text(&mut self, name: &str, text: impl Into<String>) -> &mut Self {
        self.ensure(name).set_text(text);
        self
    }

    /// Removes the first child of this name.
    pub fn remove(&mut self, name: &str) -> Option<Element> {
        self.remove_where(|element| element.name == name)
    }

    /// Removes the first child that `wanted` accepts.
    pub fn remove_where(&mut self, wanted: impl Fn(&Element) -> bool) -> Option<Element> {
        let at = self
            .children
            .iter()
            .position(|node| matches!(node, Node::Element(element) if wanted(element)))?;
        match self.children.remove(at) {
            Node::Element(element) => Some(element),
            _ => None,
        }
    }

    /// Appends an element.
    pub fn push(&mut self, child: Element) -> &mut Self {
        self.children.push(Node::Element(child));
        self
    }

    /// Puts `child` in the place of the first child of its name, or appends it.
    pub fn replace(&mut self, child: Element) -> &mut Self {
        let name = child.name.clone();
        *self.ensure(&name) = child;
        self
    }

    /// The same element with an attribute, for building.
    #[must_use]
    pub fn with_attr(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.set_attr(name, value.to_string());
        self
    }

    /// The same element with a text, for building.
    #[must_use]
    pub fn with_text(mut self, text: impl fmt::Display) -> Self {
        self.set_text(text.to_string());
        self
    }

    /// The same element with a child, for building.
    #[must_use]
    pub fn with(mut self, child: Element) -> Self {
        self.push(child);
        self
    }

    /// The same element with a child that holds a text, for building.
    #[must_use]
    pub fn with_child(self, name: &str, text: impl fmt::Display) -> Self {
        self.with(Element::new(name).with_text(text))
    }

    /// The same element with children, for building.
    #[must_use]
    pub fn with_all(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children.into_iter().map(Node::Element));
        self
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(f, " {name}=\"")?;
            escape(f, value, true)?;
            f.write_str("\"")?;
        }
        if self.children.is_empty() {
            return f.write_str("/>");
        }
        f.write_str(">")?;
        for child in &self.children {
            match child {
                Node::Element(element) => element.write(f)?,
                Node::Text(text) => escape(f, text, false)?,
                // Its end cannot occur inside: the section is closed and opened again around it.
                Node::CData(data) => write!(f, "<![CDATA[{}]]>", data.replace("]]>", "]]]]><![CDATA[>"))?,
                Node::Comment(comment) => write!(f, "<!--{comment}-->")?,
                Node::Instruction(instruction) => write!(f, "<?{instruction}?>")?,
            }
        }
        write!(f, "</{}>", self.name)
    }
}

/// Writes the document. Characters that XML cannot carry are replaced by U+FFFD.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl std::str::FromStr for Element {
    type Err = XmlError;

    fn from_str(document: &str) -> Result<Self, XmlError> {
        Self::parse(document)
    }
}

fn read_start(start: &BytesStart<'_>) -> Result<Element, XmlError> {
    let mut element = Element::new(name(start.name().0)?);
    for attribute in start.attributes() {
        if element.attributes.len() >= MAX_ATTRIBUTES {
            let why = format!("<{}> has more than {MAX_ATTRIBUTES} attributes", element.name);
            return Err(XmlError::new(why));
        }
        let attribute = attribute.map_err(|error| XmlError::new(format!("<{}>: {error}", element.name)))?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0)?;
        carried(&value)?;
        element.attributes.push((name(attribute.key.0)?.to_owned(), value.into_owned()));
    }
    Ok(element)
}

/// The reader takes any run of characters for a name; written again, one like `a/` would be something else.
fn name(text: &str) -> Result<&str, XmlError> {
    let begins = |first: char| first.is_alphabetic() || matches!(first, '_' | ':') || !first.is_ascii();
    let goes_on = |each: char| begins(each) || each.is_ascii_digit() || matches!(each, '-' | '.');
    if text.starts_with(begins) && text.chars().all(goes_on) {
        return Ok(text);
    }
    Err(XmlError::new(format!("`{}` is not a name", text.escape_debug())))
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, XmlError> {
    if let Some(character) = reference.resolve_char_ref()? {
        let text = character.to_string();
        return carried(&text).map(|()| text);
    }
    let name = reference.xml10_content();
    quick_xml::escape::resolve_predefined_entity(&name)
        .map(str::to_owned)
        .ok_or_else(|| XmlError::new(format!("the entity `&{name};` is not known")))
}

fn push(node: Node, open: &mut [Element]) {
    // Comments and instructions around the root are nobody's content.
    if let Some(parent) = open.last_mut() {
        parent.children.push(node);
    }
}

fn push_text(text: &str, open: &mut [Element]) -> Result<(), XmlError> {
    match open.last_mut() {
        None if text.trim().is_empty() => {}
        None => return Err(XmlError::new("text outside the root element")),
        Some(parent) => match parent.children.last_mut() {
            Some(Node::Text(before)) => before.push_str(text),
            _ => parent.children.push(Node::Text(text.to_owned())),
        },
    }
    Ok(())
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(parent) => parent.children.push(Node::Element(element)),
        None if root.is_some() => return Err(XmlError::new("more than one root element")),
        None => *root = Some(element),
    }
    Ok(())
}

/// Whether XML 1.0 can carry the character, be it as a reference.
fn is_carried(character: char) -> bool {
    !matches!(
        character,
        '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'
    )
}

/// quick-xml lets these pass. What we could not write again we do not read.
fn carried(text: &str) -> Result<(), XmlError> {
    match text.chars().find(|character| !is_carried(*character)) {
        Some(character) => {
            Err(XmlError::new(format!("{} is no character of XML", character.escape_unicode())))
        }
        None => Ok(()),
    }
}

fn escape(f: &mut fmt::Formatter<'_>, text: &str, attribute: bool) -> fmt::Result {
    use fmt::Write as _;
    for character in text.chars() {
        match character {
            '&' => f.write_str("&amp;")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '"' if attribute => f.write_str("&quot;")?,
            '\t' | '\n' if attribute => write!(f, "&#{};", u32::from(character))?,
            // A bare carriage return would be read back as a line feed.
            '\r' => f.write_str("&#13;")?,
            '\t' | '\n' => f.write_char(character)?,
            _ if !is_carried(character) => f.write_char('\u{fffd}')?,
            _ => f.write_char(character)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unknown_nodes_survive() {
        let document = r#"<domain type="qemu" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"><!-- by hand --><name>a&amp;b</name><x:y xmlns:x="urn:x" z="&quot;&#10;"/><qemu:commandline><qemu:arg value="-S"/></qemu:commandline><![CDATA[<raw>]]><?pi x?></domain>"#;
        assert_eq!(Element::parse(document).unwrap().to_string(), document);
    }

    #[test]
    fn finds_and_changes() {
        let mut root =
            Element::parse("<d><devices><disk a='1'/><nic/><disk a='2'/></devices><m u='x'> 5 </m></d>")
                .unwrap();
        assert_eq!(root.attr_at("devices/disk", "a"), Some("1"));
        assert_eq!(root.all("devices/disk").len(), 2);
        assert_eq!(root.text_at("m").as_deref(), Some("5"));
        assert_eq!(root.path("devices/none"), None);
        root.set_child_text("m", "6").set_child_text("new", "<7>");
        let gone = root.ensure("devices").remove_where(|disk| disk.attr_is("a", "1")).unwrap();
        assert_eq!(gone.name, "disk");
        assert_eq!(
            root.to_string(),
            r#"<d><devices><nic/><disk a="2"/></devices><m u="x">6</m><new>&lt;7&gt;</new></d>"#
        );
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        for bad in [
            "",
            "text",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>x",
            "<a b='1' b='2'/>",
            "< />",
            "<a/ >x</a/>",
            "<1/>",
            "<a ='1'/>",
            "<a>&nope;</a>",
            "<a>\u{0}</a>",
            "<a b='\u{1f}'/>",
            "<a>&#1;</a>",
            "<a b='&#xffff;'/>",
            "<a b='&nope;'/>",
            "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
        ] {
            assert!(Element::parse(bad).is_err(), "{bad}");
        }
        let deep = "<a>".repeat(100_000);
        assert!(Element::parse(&deep).unwrap_err().to_string().contains("deeper"));
        let wide: String = (0..100_000).map(|number| format!(" a{number}=''")).collect();
        assert!(Element::parse(&format!("<a{wide}/>")).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn control_characters_do_not_break_the_document() {
        let written = Element::new("a").with_attr("b", "x\u{0}\u{7}").with_text("\u{1}\r\n").to_string();
        let read = Element::parse(&written).unwrap();
        assert_eq!(read.attr("b"), Some("x\u{fffd}\u{fffd}"));
        assert_eq!(read.text(), "\u{fffd}\r\n");
    }

    fn text() -> impl Strategy<Value = String> {
        // What XML can carry; the rest is replaced, see the test above.
        "[ -~\t\n\ré☃𝄞<>&\"']{1,12}"
    }

    fn tree() -> impl Strategy<Value = Element> {
        let attributes = || prop::collection::btree_map("[a-z]{1,4}(:[a-z]{1,3})?", text(), 0..3);
        let leaf = ("[a-z]{1,6}", attributes()).prop_map(|(name, attributes)| Element {
            name,
            attributes: attributes.into_iter().collect(),
            children: Vec::new(),
        });
        leaf.prop_recursive(4, 32, 4, move |inner| {
            let node = prop_oneof![
                3 => inner.prop_map(Node::Element),
                2 => text().prop_map(Node::Text),
                1 => "[a-z <>&]{1,8}".prop_map(Node::CData),
                1 => "[a-z <>&]{1,8}".prop_map(Node::Comment),
            ];
            ("[a-z]{1,6}", attributes(), prop::collection::vec(node, 0..4)).prop_map(
                |(name, attributes, nodes)| {
                    let mut element =
                        Element { name, attributes: attributes.into_iter().collect(), children: Vec::new() };
                    for node in nodes {
                        match (element.children.last_mut(), node) {
                            (Some(Node::Text(before)), Node::Text(text)) => before.push_str(&text),
                            (_, node) => element.children.push(node),
                        }
                    }
                    element
                },
            )
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(element in tree()) {
            prop_assert_eq!(Element::parse(&element.to_string()).unwrap(), element);
        }

        #[test]
        fn no_input_panics(document in "[<>/a&;!?'\"= \\-\\[\\]#x0-9]{0,40}") {
            if let Ok(element) = Element::parse(&document) {
                prop_assert_eq!(Element::parse(&element.to_string()).unwrap(), element);
            }
        }
    }
}
