//! The names of the server's methods.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

use crate::proto::DESCRIPTORS;

/// The methods of reflection. Our descriptors lack them, because tonic-reflection has its own
/// descriptors.
const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Returns every method as `package.Service/Method`.
pub fn names() -> &'static [String] {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(read_names);
    &NAMES
}

fn read_names() -> Vec<String> {
    let mut names: Vec<String> = REFLECTION.map(str::to_owned).into();
    // The build script wrote these bytes, so decoding cannot fail.
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap_or_default();
    for service in pool.services() {
        let methods = service.methods();
        names.extend(methods.map(|method| format!("{}/{}", service.full_name(), method.name())));
    }
    names
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_are_those_on_the_wire() {
        let names = super::names();
        for name in [
            "gotoassist.remotesupport.v1.RemoteSupportService/WatchSession",
            "grpc.health.v1.Health/Check",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
