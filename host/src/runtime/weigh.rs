//! What a component would cost to compile and to instantiate, found out before either is tried. Instances of
//! components are laid out when they are compiled, and what an instance takes besides its memory and tables is
//! bounded by nothing else: a few hundred bytes that nest cleverly stand for millions of instances.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ElementItems, Instance, Parser, Payload,
};

/// Instances of modules and components, nested ones among them.
const INSTANCES: u64 = 1000;
/// Functions, globals, imports and the like in all of them. Each takes up to some dozens of bytes in a sandbox.
const ITEMS: u64 = 1_000_000;

/// What a place of the pool offers a call. The common compilers' components have one memory and two tables.
pub(super) const POOLED_MEMORIES: u32 = 1;
pub(super) const POOLED_TABLES: u32 = 4;
/// In each of its tables.
pub(super) const POOLED_ELEMENTS: u32 = 20_000;

/// Components inside each other.
const DEPTH: usize = 100;

/// Where a component's sandboxes are made. It cannot tell which: what it may have is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It fits a place of the pool, whatever it does.
    Pooled,
    /// Its sandboxes are made anew each.
    Apart,
}

/// Why a component is too heavy. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub(super) enum Overweight {
    #[error("it is not a valid WebAssembly component: {0}")]
    NotAComponent(#[from] wasmparser::BinaryReaderError),
    #[error("it would make {0} instances of modules and components; {INSTANCES} are allowed")]
    Instances(u64),
    #[error("its instances would hold {0} functions, globals and the like; {ITEMS} are allowed")]
    Items(u64),
    #[error("its components are nested more than {DEPTH} deep")]
    Depth,
    #[error("it takes modules or components from outside, which is not supported")]
    Dynamic,
}

/// Refuse a component whose sandboxes would be out of all proportion, and say where the others' are made.
pub(super) fn check(bytes: &[u8]) -> Result<Shape, Overweight> {
    let mut open: Vec<Frame> = Vec::new();
    let mut whole = Weight::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        match &payload {
            Payload::Version { .. } if open.len() == DEPTH => return Err(Overweight::Depth),
            Payload::Version { .. } => open.push(Frame::default()),
            Payload::End(_) => {
                let Some(closed) = open.pop() else { continue };
                match open.last_mut() {
                    Some(outer) => outer.take(closed),
                    None => whole = closed.weight,
                }
            }
            Payload::ModuleSection { .. } => last(&mut open, |f| f.begins = Some(Kind::Module)),
            Payload::ComponentSection { .. } => {
                last(&mut open, |f| f.begins = Some(Kind::Component));
            }
            _ => section(&mut open, payload)?,
        }
        // At once, before sums of sums are of any size.
        if let Some(frame) = open.last() {
            frame.weight.check()?;
        }
    }
    whole.check()?;
    Ok(whole.shape())
}

#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    instances: u64,
    items: u64,
    memories: u32,
    tables: u32,
    /// Its largest table, or the largest number when one can grow.
    elements: u64,
}

impl Weight {
    fn add(&mut self, other: Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.items = self.items.saturating_add(other.items);
        self.memories = self.memories.saturating_add(other.memories);
        self.tables = self.tables.saturating_add(other.tables);
        self.elements = self.elements.max(other.elements);
    }

    fn shape(self) -> Shape {
        let fits = self.memories <= POOLED_MEMORIES
            && self.tables <= POOLED_TABLES
            && self.elements <= u64::from(POOLED_ELEMENTS);
        if fits { Shape::Pooled } else { Shape::Apart }
    }

    fn check(self) -> Result<(), Overweight> {
        if self.instances > INSTANCES {
            return Err(Overweight::Instances(self.instances));
        }
        // A module that is never instantiated weighs in its own frame only, and may be large.
        if self.instances > 0 && self.items > ITEMS {
            return Err(Overweight::Items(self.items));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Module,
    Component,
}

/// A module or component that is being read.
#[derive(Debug, Default)]
struct Frame {
    /// What each instance of it costs.
    weight: Weight,
    /// Those that it can instantiate, by index.
    modules: Vec<Weight>,
    components: Vec<Weight>,
    /// What is being read inside it.
    begins: Option<Kind>,
}

impl Frame {
    fn take(&mut self, closed: Frame) {
        match self.begins.take() {
            Some(Kind::Module) => self.modules.push(closed.weight),
            Some(Kind::Component) => self.components.push(closed.weight),
            None => {}
        }
    }

    fn items(&mut self, count: u32) {
        self.weight.items = self.weight.items.saturating_add(u64::from(count));
    }

    /// Another name for a module or component: its index is the next.
    fn export(&mut self, kind: ComponentExternalKind, index: u32) {
        let list = match kind {
            ComponentExternalKind::Module => &mut self.modules,
            ComponentExternalKind::Component => &mut self.components,
            ComponentExternalKind::Func
            | ComponentExternalKind::Value
            | ComponentExternalKind::Type
            | ComponentExternalKind::Instance => return,
        };
        let weight = at(list, index);
        list.push(weight);
    }
}

fn section(open: &mut [Frame], payload: Payload<'_>) -> Result<(), Overweight> {
    let Some((frame, outer)) = open.split_last_mut() else {
        return Ok(());
    };
    match payload {
        Payload::ImportSection(section) => frame.items(section.count()),
        Payload::FunctionSection(section) => frame.items(section.count()),
        Payload::TableSection(section) => {
            frame.items(section.count());
            frame.weight.tables = section.count();
            for table in section {
                let ty = table?.ty;
                let fixed = ty.maximum == Some(ty.initial);
                let elements = if fixed { ty.initial } else { u64::MAX };
                frame.weight.elements = frame.weight.elements.max(elements);
            }
        }
        Payload::MemorySection(section) => {
            frame.items(section.count());
            frame.weight.memories = section.count();
        }
        Payload::GlobalSection(section) => frame.items(section.count()),
        Payload::TagSection(section) => frame.items(section.count()),
        Payload::DataSection(section) => frame.items(section.count()),
        Payload::ElementSection(section) => {
            for element in section {
                match element?.items {
                    ElementItems::Functions(list) => frame.items(list.count()),
                    ElementItems::Expressions(_, list) => frame.items(list.count()),
                }
            }
        }
        Payload::ComponentCanonicalSection(section) => frame.items(section.count()),
        Payload::InstanceSection(section) => {
            for instance in section {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    let module = at(&frame.modules, module_index);
                    frame.weight.add(module);
                    frame.weight.instances = frame.weight.instances.saturating_add(1);
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section {
                if let ComponentInstance::Instantiate {
                    component_index, ..
                } = instance?
                {
                    let component = at(&frame.components, component_index);
                    frame.weight.add(component);
                    frame.weight.instances = frame.weight.instances.saturating_add(1);
                }
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section {
                if let ComponentTypeRef::Module(_) | ComponentTypeRef::Component(_) = import?.ty {
                    return Err(Overweight::Dynamic);
                }
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section {
                let export = export?;
                frame.export(export.kind, export.index);
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section {
                alias_of(frame, outer, alias?)?;
            }
        }
        // Types, code, names and the like make no instances.
        _ => {}
    }
    Ok(())
}

fn alias_of(
    frame: &mut Frame,
    outer: &[Frame],
    alias: ComponentAlias<'_>,
) -> Result<(), Overweight> {
    match alias {
        ComponentAlias::InstanceExport {
            kind: ComponentExternalKind::Module | ComponentExternalKind::Component,
            ..
        } => return Err(Overweight::Dynamic),
        ComponentAlias::Outer { kind, count, index } => {
            // Outward from this component itself, which is number 0.
            let depth = usize::try_from(count).unwrap_or(usize::MAX);
            let from = match depth.checked_sub(1) {
                None => &*frame,
                Some(steps) => match outer.iter().rev().nth(steps) {
                    Some(from) => from,
                    None => return Ok(()),
                },
            };
            match kind {
                ComponentOuterAliasKind::CoreModule => {
                    let weight = at(&from.modules, index);
                    frame.modules.push(weight);
                }
                ComponentOuterAliasKind::Component => {
                    let weight = at(&from.components, index);
                    frame.components.push(weight);
                }
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
            }
        }
        ComponentAlias::InstanceExport { .. } | ComponentAlias::CoreInstanceExport { .. } => {}
    }
    Ok(())
}

/// An index that leads nowhere is for the validation to find.
fn at(list: &[Weight], index: u32) -> Weight {
    usize::try_from(index)
        .ok()
        .and_then(|index| list.get(index))
        .copied()
        .unwrap_or_default()
}

fn last(open: &mut [Frame], change: impl FnOnce(&mut Frame)) {
    if let Some(frame) = open.last_mut() {
        change(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![id];
        leb(&mut bytes, body.len());
        bytes.extend(body);
        bytes
    }

    fn leb(bytes: &mut Vec<u8>, mut number: usize) {
        while number > 0x7f {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }

    /// A module of so many constants.
    fn module(globals: usize) -> Vec<u8> {
        const ZERO: [u8; 5] = [0x7f, 0, 0x41, 0, 0x0b];
        let mut list = Vec::new();
        leb(&mut list, globals);
        list.extend(ZERO.repeat(globals));
        [b"\0asm\x01\0\0\0".to_vec(), section(6, &list)].concat()
    }

    fn component(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0".to_vec(), sections.concat()].concat()
    }

    /// `count` times an instance of module or component 0.
    fn instances(id: u8, count: usize) -> Vec<u8> {
        let mut list = Vec::new();
        leb(&mut list, count);
        list.extend([0, 0, 0].repeat(count));
        section(id, &list)
    }

    #[test]
    fn a_few_instances_are_fine() {
        let inner = component(&[section(1, &module(10)), instances(2, 3)]);
        check(&component(&[section(4, &inner), instances(5, 2)])).unwrap();
        check(&component(&[])).unwrap();
        check(&component(&[section(1, &module(2_000_000))])).unwrap();
    }

    #[test]
    fn many_instances_are_refused_also_when_they_nest() {
        let many = component(&[section(1, &module(1)), instances(2, 1001)]);
        assert!(matches!(check(&many), Err(Overweight::Instances(1001))));
        let mut nested = component(&[section(1, &module(1)), instances(2, 2)]);
        for _ in 0..60 {
            nested = component(&[section(4, &nested), instances(5, 2)]);
        }
        assert!(nested.len() < 2000);
        assert!(matches!(check(&nested), Err(Overweight::Instances(_))));
    }

    /// A component with one instance of a module that has these sections.
    fn one_of(sections: &[Vec<u8>]) -> Vec<u8> {
        let module = [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat();
        component(&[section(1, &module), instances(2, 1)])
    }

    #[test]
    fn what_fits_a_place_of_the_pool_is_made_there() {
        // From one element to one, and to none in particular.
        let (fixed, open) = ([0x70, 1, 1, 1].to_vec(), [0x70, 0, 1].to_vec());
        let tables = |tables: &[&[u8]]| {
            let count = vec![u8::try_from(tables.len()).unwrap()];
            section(4, &[count, tables.concat()].concat())
        };
        let memories = |count: u8| section(5, &[vec![count], [0, 1].repeat(count.into())].concat());
        let two = tables(&[&fixed, &fixed]);
        let usual = one_of(&[two.clone(), memories(1)]);
        assert_eq!(check(&usual).unwrap(), Shape::Pooled);
        let unused = component(&[section(1, b"\0asm\x01\0\0\0\x05\x05\x02\0\x01\0\x01")]);
        assert_eq!(check(&unused).unwrap(), Shape::Pooled);

        let five = [&*fixed; 5];
        let large = [0x70, 1, 0xa1, 0x9c, 1, 0xa1, 0x9c, 1];
        for apart in [
            one_of(&[memories(2)]),
            one_of(&[tables(&[&open])]),
            one_of(&[tables(&five)]),
            one_of(&[tables(&[&large])]),
            component(&[section(4, &usual), instances(5, 2)]),
        ] {
            assert_eq!(check(&apart).unwrap(), Shape::Apart);
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut nested = component(&[]);
        for _ in 1..DEPTH {
            nested = component(&[section(4, &nested)]);
        }
        check(&nested).unwrap();
        let deeper = component(&[section(4, &nested)]);
        assert!(matches!(check(&deeper), Err(Overweight::Depth)));
    }

    #[test]
    fn heavy_instances_are_refused() {
        let heavy = component(&[section(1, &module(10_000)), instances(2, 101)]);
        assert!(matches!(check(&heavy), Err(Overweight::Items(1_010_000))));
    }

    #[test]
    fn a_component_from_outside_is_refused() {
        // A component type, and an import of it.
        let import = section(10, &[1, 0, 1, b'c', 4, 0]);
        let bytes = component(&[section(7, &[1, 0x41, 0]), import]);
        assert!(matches!(check(&bytes), Err(Overweight::Dynamic)));
    }
}
