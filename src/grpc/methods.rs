//! The methods that the server has, by name.

use prost_reflect::DescriptorPool;

use crate::proto::DESCRIPTORS;

/// Not in our descriptors, for tonic-reflection brings its own.
const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Every method as `package.Service/Method`.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = REFLECTION.map(str::to_owned).into();
    // The build wrote these bytes; if they were broken, only metrics would lose the names.
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
