"""Any network of torchvision as a target model. Options: ``name``, ``weights`` (a state dict)."""

import linex.external as lx


@lx.model
def network(request):
    import torch
    import torchvision

    torch.set_num_threads(request.threads)
    torch.manual_seed(request.seed)  # of random weights
    name = request.options.get("name", "resnet18")
    module = torchvision.models.get_model(name, weights=None)
    if "weights" in request.options:
        module.load_state_dict(torch.load(request.options["weights"], weights_only=True))
    layers = [path for path, _ in module.named_children()]
    return lx.TorchModel(module, layers, lx.IMAGENET, device=request.device)


if __name__ == "__main__":
    network.run()
