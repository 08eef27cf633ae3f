"""Sparse training in a loop of your own, from digits to a file that can be audited.

python examples/integrations/pytorch_loop.py
safecompress audit digits.safetensors --spec examples/digits.toml
"""

import torch

import safecompress as sc

STEPS = 800


def main() -> None:
    """Train at a tenth of the weights; save the artifact."""
    split = sc.make_split(sc.data.digits(), seed=0)
    features, labels = split.part("train")
    torch.manual_seed(0)
    network = sc.ModelSpec("mlp", {"hidden": [256, 128]}, input_shape=(64,), num_classes=10)
    model = network.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)

    sparse = sc.SparseTraining(model, optimizer, density=0.1, total_steps=STEPS, automatic=True)  # wrap: all it takes

    for _ in range(STEPS):
        rows = torch.randint(len(labels), (64,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(features[rows]), labels[rows]).backward()
        sparse.mask_gradients()  # only because gradients are clipped: their norm is that of active weights now
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    model.eval()
    test, truth = split.part("test")
    accuracy = (model(test).argmax(1) == truth).float().mean()
    task = sc.TaskInfo(10, split.dataset.class_names, (64,))
    sc.Artifact(model.state_dict(), sparse.pattern.masks, network, task).save("digits.safetensors")
    print(f"density {sparse.pattern.density:.3f}, {sparse.num_rewires} rewires, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
