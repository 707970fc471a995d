//! Where the things of a member are, below the instance's directory.

pub fn member(member: &str) -> String {
    member.to_owned()
}

pub fn volumes(member: &str) -> String {
    format!("{member}/volumes")
}

pub fn volume(member: &str, volume: &str) -> String {
    format!("{member}/volumes/{volume}")
}

pub fn files(member: &str) -> String {
    format!("{member}/files")
}

pub fn file(member: &str, file: &str) -> String {
    format!("{member}/files/{file}")
}
